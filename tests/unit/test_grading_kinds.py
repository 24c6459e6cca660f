"""Kinds of answers that a policy could find: each looks like the gold answer and is not, beside what looks alike and is."""

import pytest

from pipeline_lib.grading.maths.grader import judge_answers

# Gold answer || answer, in this direction.
ACCEPTED = r"""
5\text{ m} || 5m
1,2,3 || x=1,2 \text{ or } 3
5\text{ cm} || 5cm
5\text{ kg} || 5\text{ Kg}
5\text{ km} || 5\text{ KM}
8\text{ apples} || 8
8 || 8 apples
8 || 8\text{ distinct integers}
8 || 8\text{ right triangles}
240 || 240\text{ ways}
1 || 1\text{ way}
\frac12 || \frac12\text{ pizza}
5\text{ mL} || 5\text{ ml}
5\text{ L} || 5000\text{ mL}
34 || 34\text{ sq. units}
34 || 34\text{ square units}
12 || 12 \text{ (cubic units)}
3 || 3\text{ feet/s}
60 || 60\text{ miles per hour}
60\text{ mph} || 60\text{ miles per hour}
60 || 60\text{ words per minute}
3 || 3\text{ dollars per apple}
5 || 5\text{ people}
5 || 5\text{ children}
5\text{ million} || 5,000,000
5\text{ million dollars} || \$5,000,000
5\text{ dozen eggs} || 60
60\text{ eggs} || 5\text{ dozen eggs}
7 || 7\text{th}
28\% || 28
28 || 28\%
0.28 || 28\%
\frac34 || 75\%
12.5 || 12.5\%
33\frac13 || 33\frac13\%
101_2 || 5_{10}
5 || 101_2
101_2 || 101
ab || ba
xy || yx
abc || bca
mg || gm
xy || x\cdot y
kx || xk
2\pi r || 2r\pi
xy+1 || 1+yx
ab+ac || a(b+c)
n || \lfloor n\rfloor
|x|^2 || x^2
\max(x,y) || \max(y,x)
\max(x,y) || \frac{x+y+|x-y|}{2}
\sqrt{x^2} || |x|
\lfloor x+1\rfloor || \lfloor x\rfloor+1
\sin^2x+\cos^2x || 1
e^{x+y} || e^xe^y
\ln(x^2) || 2\ln|x|
\frac{1}{\sqrt2} || \frac{\sqrt2}{2}
5 || \text{The answer is }5
5 || \text{Answer: }5
5 || \text{The minimum is }5
5 || \text{Area} = 5
5 || \text{Final answer: }5
5 || \text{The value of x is }5
5 || \text{The area is }5
5 || \text{Total cost: }5
\frac12 || \text{The probability is }\frac12
5 || m+n=5
5 || x=5
\frac35 || \cos B=\frac35
5 || |z|=5
5 || \text{Maximum value} = 5
5 || \text{sum} = 5
5 || \color{blue}{5}
7 || {\color{green} 7}
8 || \Large{8}
6 || \textcolor{red}{6}
5 || \hspace{1cm}5
N+1 || n+1
x^2+C || x^2+c
IV || IV
\text{NE} || NE
AB || AB
\text{red} || red
1.8^{\circ}\mathrm{C}/\mathrm{h} || 1.8
7200\mathrm{MB} || 7200
9.8 \mathrm{~m/s^2} || 9.8\text{ m/s}^2
16'' || 16''
40\text{ min} || 40\text{ minutes}
2\text{ h }30\text{ min} || 150\text{ minutes}
5 || 5个
5 || 5元
5\text{ tons} || 5
\$5 || 5\text{ dollars}
y=x || x=y
2x+3y=6 || 4x+6y=12
y=\frac1x || xy=1
2i || 2\mathrm{i}
e^x || \mathrm{e}^x
"""

REFUSED = r"""
5\text{ g} || 5\text{ G}
5\text{ N} || 5\text{ n}
5\text{ K} || 5\text{ k}
5\text{ m} || 5\text{ M}
5\text{ s} || 5\text{ S}
5\text{ mg} || 5\text{ Mg}
5\text{ mW} || 5\text{ MW}
5\text{ Pa} || 5\text{ pa}
5\text{ mL} || 5\text{ ML}
5\text{ kb} || 5\text{ kB}
5\text{ MB} || 5\text{ Mb}
5\text{ J} || 5\text{ j}
5\text{ V} || 5\text{ v}
5 || 5\text{ tens}
5 || 5\mathrm{x}
5 || 5\mathrm{e}
5 || 5\mathrm{i}
5 || 5\text{ hundredths}
5 || 5\text{ tenths}
5 || 5\text{ thirds}
5 || 5\text{ halves}
5 || 5\text{ squared}
5 || 5\text{ cubed}
5 || 5 negative
5 || 5\text{ negative}
5 || 5\text{ percent off}
5 || 5\text{ doubled}
5 || 5\text{ twice}
5 || 5\text{ half}
5 || 5\text{ halved}
5 || 5\text{ thousandths}
5 || 5\text{ score}
5 || 5\text{ gross}
5 || 5\text{ factorial}
5 || 5\text{ inverse}
5 || 5\text{ root}
5 || 5\text{ modulo }3
5 || 5\text{ hundred}
5 || 5\text{ dozens}
5 || 5\text{ fold}
5 || 5\text{ recurring}
5 || 5\text{ repeating}
5 || 5\text{ remainder 2}
5 || 5\text{ remainder}
5 || 5\text{ r }2
5 || 5\text{ less}
5 || 5\text{ fewer}
5 || 5\text{ greater}
5 || 5\text{ more}
5 || 5\text{ or so}
5 || 5\text{ ish}
5 || 5\text{ approximately}
5 || 5\text{ plus}
5 || 5\text{ minus}
5 || 5\text{ minus two}
5 || 5\text{ times}
5 || 5\text{ times two}
5 || 5\text{ roughly}
5 || 5\text{ incorrect}
5 || 5\text{ excluded}
5 || 5\text{ wrong}
5 || 5\text{ above}
5 || 5\text{ below}
5 || 5\text{ radians minus}
5 || 5\text{ mod}
5 || 5\text{ base}
5 || 5\text{ hex}
5 || 5\text{ octal}
5 || 5\text{ binary}
101 || 101\text{ binary}
101 || 101_2
101 || 101_{10000}
5 || 101_2 = 5 = 6
5 || 5_6=6
\frac34 || 0.75\%
0.75 || 0.75\%
3/4 || \frac34\%
0.5 || 0.5\%
7500 || 75
\text{dog} || \text{god}
dog || god
red || der
NE || EN
\text{NE} || \text{EN}
SW || WS
AB || BA
ABC || CBA
was || saw
on || no
yes || sey
now || won
up || pu
tea || eat
\text{tar} || \text{rat}
x || \min(x,1000)
x || \max(x,-1000)
x || \min(x, 10^{9})
0 || x/10^{40}
0 || 10^{-40}
x || x+10^{-30}
x || x+10^{-40}y
x || |x|
x || \sqrt{x^2}
\lfloor x\rfloor || x
n || |n|
n || n+\lfloor n/1000\rfloor
n^2 || |n|^2+\lfloor n/10\rfloor
0 || \lfloor n/100\rfloor
n || \min(n,9)
n || \max(n,2)
x || x + \max(0, x-100)
1 || \frac{|x|}{x}
x || x(1+10^{-35})
\sin x || \sin(x)+10^{-50}
x || x+\lfloor\frac{x}{1000}\rfloor
0 || \lfloor \frac{x^2}{1000}\rfloor
0 || \max(0,x-50)
e^x || e^x+10^{-28}
1 || 1+10^{-50}
1+10^{-50} || 1
n || \gcd(n, 2520)
2 || \gcd(2,n!)
1 || (-1)^{2n+2m}\cdot\lceil\frac{1}{n}\rceil
n! || n!+\lfloor n/20\rfloor
\pi || 3.1416+0
5 || \text{greater than: }5
5 || \text{Upper bound: }5
5 || \text{half of it is }5
5 || Upper bound: 5
2024 || It was in 2024.
5 || \text{twice this is }5
5 || \text{double is }5
5 || \text{The negative is }5
5 || \text{The square is }5
5 || \text{not }5
5 || \text{the wrong answer is }5
5 || \text{The answer is no longer }5
5 || \text{The answer is less than }5
5 || \text{approximately }5
5 || \text{at most: } 5
5 || \text{if it is }5
5 || \text{Everything but: }5
5 || \text{opposite of the answer is }5
5 || \text{answer plus one is }5
5 || \text{answer} + 1 = 5
5 || \text{answer}/2 = 5
5 || \text{half} = 5
5 || \text{sqrt} = 5
5 || -x=5
5 || 2x=5
5 || x^2=5
5 || 1/x=5
5 || x+1=5
5 || \sqrt{x}=5
5 || \ln x = 5
5 || x!=5
5 || x\ne5
5 || x\equiv 5
5 || x\sim 5
5 || x\to 5
5 || \approx 5
5 || \sim 5
5 || \neq 5
5 || > 5
5 || \le 5
5 || \textcolor{white}{6}5
5 || 5\textcolor{white}{6}
5 || \phantom{6}5
5 || \phantom{-}5
5 || \hphantom{6}5
5 || \vphantom{6}5
5 || 5\phantom{6}
5 || {\color{white}6}5
5 || \hspace{1cm}6 5
5 || \tiny{6}5
5 || \tag{6}5
5 || 5\tag{6}
5 || \label{6}5
5 || 5\label{6}
5 || 5\footnote{6}
5 || 5%6
5 || 6%5
56 || 5\textcolor{white}{6}
5 || \smash{6}5
5 || \rlap{6}5
5 || \mathllap{6}5
5 || \sout{6}5
5 || \cancel{6}5
5 || \not5
5 || \not{5}
5 || \cancel{5}
5 || \xcancel{5}
5 || \sout{5}
5 || \overline{5}
5 || \hat{5}
5 || \bar{5}
5 || \vec 5
5 || \underline{5}5
5 || \overset{6}{5}
5 || \underset{6}{5}
5 || \stackrel{6}{5}
5 || 5\\6
5 || 5 \newline 6
5 || 5 \quad 6
5 || 5, 6
5 || \{5, 6\}
5 || (5, 6)
5 || 5\pm0
5 || 5\pm 1
5 || \pm 5
5 || \mp 5
5 || 5\pm 10^{-12}
5 || [5,5]
5 || (-\infty,\infty)
5 || \mathbb{R}
5 || x\in\mathbb{R}
5 || 5\text{ or }6
5 || 5 or 6
5 || 4-6
5 || 5-6
5 || 4..6
5 || 4\text{ to }6
5 || 5\ldots
5 || 5\ldots6
5 || 1,\ldots,10
5 || \text{any number}
5 || 0/0
5 || \frac00
5 || nan
5 || NaN
5 || inf
5 || \infty
5 || 5\cdot\frac00
5 || \frac{5\cdot0}{0}
5 || 5^{0^{-1}}
5 || \infty-\infty+5
5 || \infty/\infty
\infty || \frac10
\infty || \infty-\infty
5 || ５６
5 || 5=5=6
5 || 6=5
5 || 5=6
5 || 5=6=5
5 || 4+1=6
6 || 5=5=6
5 || x=5=6
5 || x=6=5
5 || x=y=5=6
3.14159 || 3.1
\pi || 3.1
1/3 || 0.33
0.33 || 1/3
1/3 || 0.33331
\begin{pmatrix}1&2\\3&4\end{pmatrix} || 1,2,3,4
\begin{pmatrix}1&2\\3&4\end{pmatrix} || (1,2,3,4)
\begin{pmatrix}1&2\\3&4\end{pmatrix} || \begin{pmatrix}1&2&3&4\end{pmatrix}
\begin{pmatrix}1\\2\end{pmatrix} || \begin{pmatrix}1&2\end{pmatrix}
\begin{vmatrix}1&2\\3&4\end{vmatrix} || \begin{pmatrix}1&2\\3&4\end{pmatrix}
B || A. 5
5 || B. 6
B || A or B
B || A, B
B || A/B
B || AB
B || ABCDE
B || \text{not B}
B || A\to B
B || (A) B
B || (B) C
B || B and C
B || \{A,B\}
B || A: B
B || B: A
B || B=A
A || A = B
A || \text{A or B}
A || A\cup B
A || \text{A is wrong}
A || A\text{ is not}
E || (A) E
3:00 || 3
3 || 3:00
3\text{ p.m.} || 15
3:30 || 3.30
May 5 || 5 May 2020
May 5, 2020 || May 2020
2020-05-06 || 2020-06-05
05/06/2020 || 06/05/2020
5:3 || 5/3=1
5 || 5\text{B}
5 || 5M
5 || 5\text{e6}
5 || 5\text{ zillions}
5 || 5\text{ twenty-firsts}
5 || 5\text{ sevens}
5 || 5\text{ half dollars}
5 || 5\text{ hundred dollars}
5 || 5\text{ per cents off}
5 || 5 docenas
5 || 5 fois
5 || 5万
5 || 5倍
5 || 5分之一
5 || 5以上
5 || 5或6
5 || 5?
5 || --5
5 || 5^{+}
5 || \begin{cases}5&x>0\\6&x\le0\end{cases}
5 || \begin{aligned}x&=6\\&=5\end{aligned}
5 || 5\in\{5,6\}
5 || x\in[5,5]
5 || \forall x: x=5
5 || x=5\text{ or }y=5
5 || 4<5<6
5 || 5\ne6
5 || 5\approx 5.4
0 || \frac{3}{17}\approx 0
5 || 6\implies5
5 || \int_0^5 1 dx \foo 6
5 || \int_0^5 dx dy
1 || \gcd(n,6)
1 || \gcd(x,y)
5 || \operatorname{foo}(5)
5 || \text{foo}(5)
5 || 5\text{ths}
5 || 5^{\text{th}}\text{ root}
5 || \underbrace{5}_{6}
5 || \boxed{5}\boxed{6}
5 || \text{\boxed{6}}5
5 || \href{6}{5}
5 || \def\x{6}5
5 || \iffalse6\fi5
5 || \rotatebox{180}{5}
5 || \makebox[0pt]{6}5
5 || \textcolor{white}{5}
5 || \textcolor[rgb]{1,1,1}{6}5
5 || \colorbox{black}{6}5
5 || 6\hspace{-0.5em}5
51 || ‮15
\binom{n+m-1}{m}^2 || i\binom{n+m-1}{m}^2
\text{Alice and Bob} || \text{Alice or Bob}
\frac{a^2b}{c} || \frac{a^2b}{C}
R^2 || r^2
\frac{x}{y}<1 || x<y
y=2x || y=2x+10^{-30}
1969 || 1969\text{ BC}
5\text{ cm} || 5\text{ cm}^{0}
\lfloor x\rfloor || \lfloor x+10^{-9}\rfloor
3:45 || 15:45 AM
p\land q || p\lor q
5\text{ m/s} || 5\text{ s/m}
5\text{ hours} || 5\text{ hours ago}
8\text{ apples} || 8\text{ rotten apples}
|x-100| || 100-x
\sqrt{(x-50)^2} || x-50
x^{1/3} || x^{0.333333333}
y=|x| || y^2=x^2
\text{yes} || \text{yes and no}
\text{Alice} || \text{Alice or Bob}
0 || I(0)
x^2+1 || -\infty
\sqrt2 || \infty
\sqrt2 || -\infty
-\infty || \infty
2\sec x || \infty
2:3 || 0:0
D || (D)^2
D || (D)!
[1,2) || [1,2)'
0:1:2 || 0:5:7
3:45 PM || 0:0
I(0)e^x || I(0)e^y
5 || 5...
. || ...
\, || \!
(1,2) || [...,half]
3 || (dozen,\end{cases} < x < \!)
x=3 || \right)=\overline{(}
5 || x=.5, y=\int_{\sqrt}>
1,2,3 || x=1,2 \text{ or } 4
1,2,3 || x=1,2 \text{ or } y=3
12 || \text{The number of digits of the answer is }12
"""


@pytest.mark.parametrize(("cases", "is_right"), [(ACCEPTED, True), (REFUSED, False)])
def test_kinds(cases, is_right):
    pairs = [tuple(line.split(" || ")) for line in cases.strip().splitlines()]
    reasons = judge_answers([(answer, gold) for gold, answer in pairs], timeout_seconds=30.0)
    assert [pair for pair, reason in zip(pairs, reasons, strict=True) if (reason == "correct") != is_right] == []
