"""Notations of right answers beyond those of test_grading.py, and wrong ones close by; a line has a gold answer and others."""

import pytest

from pipeline_lib.grading.maths.grader import judge_answers

RIGHT = r"""
\frac12 || {1\over 2} || 1 \over 2 || P(A|B)=\frac12 || P(A\mid B)=\frac12 || P(A\cap B)=\frac12 || \Pr(X>3)=\frac12
\frac12 || P(\text{heads})=\frac12 || \sfrac{1}{2} || \nicefrac{1}{2} || \flatfrac{1}{2} || one half || \text{one half}
\frac12 || \text{one-half}
\frac{x+1}{2} || {{x+1} \over 2}
3+\frac12 || 3+{1 \over 2}
10 || 5 \choose 2
\begin{pmatrix}-1&-2\\-3&-4\end{pmatrix} || -\begin{pmatrix}1&2\\3&4\end{pmatrix}
\begin{pmatrix}1/2\\1\end{pmatrix} || \frac{1}{2} \cdot \begin{bmatrix}1\\2\end{bmatrix}
\begin{pmatrix}1\\2\end{pmatrix} || \begin{pmatrix}1&2\end{pmatrix}^T || [1,2]^T || (1,2)^{\top}
\langle 1,2,3\rangle || \mathbf{i}+2\mathbf{j}+3\mathbf{k}
\begin{pmatrix}1\\2\\3\end{pmatrix} || \hat{i}+2\hat{j}+3\hat{k}
-2 || \begin{vmatrix}1&2\\3&4\end{vmatrix} || \det\begin{pmatrix}1&2\\3&4\end{pmatrix}
3 || \det A=3 || \det(A)=3 || \log_28 || 3rd
5 || \mathrm{Var}(X)=5 || \operatorname{Var}(X)=5 || \mathbb{E}[X]=5 || \|\vec v\|=5 || \lVert v\rVert=5 || |z_1-z_2|=5
5 || |A\cup B|=5 || \therefore x=5 || \Rightarrow x=5 || \implies 5 || \sum_{i=1}^n a_i=5 || \sum x_i=5 || [ABC]=5
5 || \text{Area}(ABC)=5 || \text{Area of }\triangle ABC=5 || \lim_{x\to0}f(x)=5 || \int_0^1 f(x)\,dx=5 || \max f(x)=5
5 || \min(x+y)=5 || \deg P=5 || \text{rank}(A)=5 || \operatorname{tr}(A)=5 || \dim V=5 || \#S=5
5 || \left\lfloor \frac{x}{y} \right\rfloor=5 || \frac{dy}{dx}=5 || five || \text{five}
5 || 5\square || \bold{5} || =5 || = 5 || 5\checkmark || 5 \blacksquare || 5 \qquad\blacksquare
5 || n\text{ is }5 || x\text{ equals }5 || 5=x || \num{5} || 5 \text{ or } 5.0
0.5 || P(X=1)=0.5
7 || f(g(2))=7 || f(x+1)=7 || f^{-1}(3)=7
30 || \measuredangle ABC=30^\circ
\frac35 || \cos(A+B)=\frac35 || \tan\left(\frac{\theta}{2}\right)=\frac35
1 || \lim_{x\to0}\frac{\sin x}{x}=1
\frac13 || \int_0^1 x^2\,dx=\frac13 || 0.\bar3 || 0.\dot3 || .\overline{3}
55 || \sum_{k=1}^{10}k=55
120 || 5!=120
2x || \frac{dy}{dx}=2x || \frac{d}{dx}x^2
1000 || 1'000 || 1~000 || 1_000
1000000 || 1'000'000
1.5 || 1{,}5
12345.67 || 12.345,67 || 12'345.67
320000 || 3.2 x 10^5 || 3.2\text{e}5 || 3.2 \text{ x } 10^5 || \num{3.2e5}
-5 || ‐5 || ‑5 || ‒5 || ―5 || \text{negative }5 || minus 5
2.75 || 2 {3\over 4}
\frac{41}{333} || 0.\dot{1}2\dot{3} || 0.\dot12\dot3
\frac34 || three quarters || three-fourths
12 || twelve || 12th || 12^{\text{th}}\text{ grade}
4 || \mbox{four}
25 || twenty-five || 25\text{ sq. units} || 25\text{ units}^2 || 25\text{ cu. units}
30^\circ15' || 30.25^\circ
30^\circ 15' || 30°15' || 30^{\circ}15^{\prime}
30^\circ 15' 30'' || 30°15′30″
30^\circ15'30'' || 30^\circ 15^\prime 30^{\prime\prime}
30.25° || 30\text{ degrees }15\text{ minutes}
\sqrt[3]{2} || ∛2 || \root 3 \of 2 || \root{3}\of{2}
\sqrt[4]{2} || ∜2
\frac{\pi}{6} || \frac{180^\circ}{6}
2 || \log_39
\frac32 || \log_48
\frac{\ln 3}{\ln 2} || ln3/ln2
\frac{\sin x}{x} || \sin x/x
3-2i || 3-2j || 3-2I || 3-2\imath
2e^{i\pi/3} || 2\text{cis}\frac{\pi}{3} || 2\operatorname{cis}(60^\circ)
\pm 3 || +/-3
25\text{ cm}^2 || 25\text{ sq. cm}
5\text{ kg} || 5 kgs || 5\text{ kgs} || 5\text{ kilos} || \SI{5}{kg} || \SI{5}{\kilogram} || \qty{5}{kg}
5\text{ kg} || \qty{5}{\kilo\gram} || 5\,\si{kg} || 5\,\unit{\kilo\gram}
5\text{ m} || \SI{5}{m}
5\text{ m/s} || \SI{5}{\meter\per\second} || \SI{5}{m/s}
5\text{ m/s}^2 || \SI{5}{\meter\per\second\squared} || \SI{5}{m.s^{-2}}
30^\circ || \ang{30} || 30^o || 30^{o}
500\text{ ohm} || 500\ \Omega
500\text{ ohms} || 500\,\Omega
500\ \Omega || 0.5\text{ k}\Omega || 500
5\ \mu\text{m} || 5\text{ µm} || 5\text{ um} || 5\text{ micrometers} || 5\text{ microns} || 5\times10^{-6}\text{ m}
5\text{ KB} || 5\text{ kB}
5\text{ kJ/(kg K)} || 5\text{ kJ}\,\text{kg}^{-1}\text{K}^{-1} || 5\ \frac{\text{kJ}}{\text{kg}\cdot\text{K}}
5\text{ kJ/(kg K)} || 5\text{ kJ/(kg·K)} || 5\text{ kJ/kg/K} || 5\text{ kJ/kg-K}
8.31\text{ J/(mol K)} || 8.31\ \mathrm{J\,mol^{-1}\,K^{-1}}
5\text{ N m} || 5\text{ Nm}
20^\circ\text{C} || \SI{20}{\celsius}
5\text{ Å} || 5\,\AA
2\text{ h }30\text{ min} || 2\text{ hours and }30\text{ minutes}
5\text{ ft}^2 || 5\text{ sq. ft.} || 5\text{ sqft}
5\% || 5\text{ per cent}
$5 || USD 5 || US\$5 || \$5\text{ dollars}
€5 || EUR 5
₹5 || Rs. 5 || Rs 5
5\text{ years} || 5\text{ years old}
5\text{ m}^3 || 5\text{ cu. m}
\frac{1170^{\circ}}{19} || \frac{1170}{19}^\circ
A1_{16} || a1_{16} || \text{a1}_{16}
101_2 || 101\text{ base }2 || 101 base 2 || 101\text{ (base 2)} || 101\text{ in base }2 || \overline{101}_2 || {101}_{2}
255 || 0xFF
[0,2] || [0,1]\cup[1,2] || [0,1)\cup[1,2]
[0,3] || [0,2]\cup[1,3]
(0,2) || (0,1)\cup[1,2)
(-\infty,\infty) || (-\infty,1)\cup[1,\infty)
\mathbb{R}\setminus\{1\} || x\in\mathbb{R},x\ne1
\mathbb{R}\setminus\{1,2\} || x\ne1\text{ and }x\ne 2
(3,\infty) || x>3, x\in\mathbb{R}
A,C || AC
ABD || A, B, D
AC || A \text{ and } C || A、C || (A),(C) || \text{AC} || \text{A and C}
x=1,2 || x_1=1,x_2=2 || x_{1}=1, x_{2}=2 || x_1=2,x_2=1
x=1, y=2 || x=1 \\ y=2 || \{x=1,y=2\}
(1,2),(3,4) || (1,2)(3,4) || (1,2)\ (3,4)
(1,2,3) || <1,2,3>
(1,2) || A(1,2) || P(1,2)
2:3 || 2 to 3 || 2\text{ to }3 || 2\text{:}3
1:2:3 || 1\text{ to }2\text{ to }3
\begin{cases}x&\text{if }x>0\\-x&\text{if }x\le0\end{cases} || \begin{cases}x&x>0\\-x&x\le0\end{cases}
\begin{cases}x&\text{if }x>0\\-x&\text{if }x\le0\end{cases} || \begin{cases}x,&x>0,\\-x,&x\le0.\end{cases}
\begin{cases}x&\text{if }x>0\\-x&\text{if }x\le0\end{cases} || \begin{cases}-x&\text{for }x\le0\\x&\text{for }x>0\end{cases}
\begin{cases}x&\text{if }x>0\\-x&\text{if }x\le0\end{cases} || \{\begin{array}{ll}x&\text{if }x>0\\-x&\text{if }x\le0\end{array}
\begin{cases}x&\text{if }x>0\\-x&\text{otherwise}\end{cases} || \begin{cases}x&x>0\\-x&\text{otherwise}\end{cases}
March 5, 2024 || the 5th of March, 2024 || 2024/03/05 || Tuesday, March 5, 2024
3:05 pm || 3:05\textsc{pm} || 3\text{:}05\text{ p.m.}
3 pm || 3\text{ o'clock p.m.}
12:00 pm || noon
12:00 || \text{noon}
\text{a circle} || circle
\mathbb{Z} || \text{all integers}
0.09 \text{ OR } \frac{9}{100} || 0.09 || \frac{9}{100}
k\pi, k\in\mathbb{Z} || k\pi\text{ where }k\text{ is an integer} || x=n\pi\text{ for any integer }n
k\pi, k\in\mathbb{Z} || \{k\pi\mid k\in\mathbb{Z}\} || k\pi\text{ for all integers }k
n2^{n-2} || n\cdot2^{n-2}
k2^{k-1} || 2^{k-1}k
36\pi 2^{2/3} || 36\pi\cdot2^{2/3}
\frac{9!8!4!}{25!} || \frac{9!\cdot8!\cdot4!}{25!}
C_5^2 || 10
f(x)=x || f(x)=x\text{ for all }x || f(x)=x\ \forall x || f(x)=x, x\in\mathbb{R}
\mathbb{R} || x\in\mathbb R
3\mathbf{i}-2\mathbf{j}+\mathbf{k} || -2\mathbf j+3\mathbf i+\mathbf k
a || \text{a)}
1-\frac{1}{\mathrm e} || \frac{e-1}{e}
\min\{x,1-x\} || \min(1-x,x)
\frac{\pi^2}{6} || \zeta(2)
n! || \Gamma(n+1)
\sum_{k=0}^{n}\binom nk || 2^n
1,2,3 || 1{,}2{,}3
(-\infty,-5)\cup(-5,5)\cup(5,\infty) || x\ne\pm5
\mathbb{R}\setminus\{1,2\} || x\ne1,2
\frac{\ln 2}{2} || \ln 2 / 2
\tan x || \operatorname{tg} x
\sinh^{-1} x || \operatorname{arcsinh} x
z^* || z^{*}
A^T || A^\top
3\text{ dollars per hour} || \$3/\text{hour}
Ce^{-2t} || C e^{-2t}
(-1)^{n}2\sqrt{n} || 2(-1)^n\sqrt{n}
\begin{pmatrix}4\\6\end{pmatrix} || \begin{pmatrix}1\\2\end{pmatrix}+\begin{pmatrix}3\\4\end{pmatrix}
\begin{pmatrix}1\\2\end{pmatrix}+t\begin{pmatrix}3\\4\end{pmatrix} || \begin{pmatrix}1+3t\\2+4t\end{pmatrix}
A^{-1}=\begin{pmatrix}1&2\\3&4\end{pmatrix} || \begin{bmatrix}1&2\cr3&4\end{bmatrix}
\Delta H=-5\text{ kJ/mol} || -5\text{ kJ/mol}
E^\circ=0.34\text{ V} || 0.34\text{ V}
a_n=3n+1 || a_n=3n+1, n\ge1
(0,\infty) || \mathbb{R}^+ || \mathbb{R}_{>0}
\mathbb{Z}^+ || \text{all positive integers}
\{(1,2)\} || (1,2)
"""

WRONG = r"""
\frac12 || {2\over 1} || {1\over 3} || {1 \choose 2}
10 || {5 \choose 1}
\begin{pmatrix}1&2\\3&4\end{pmatrix} || -\begin{pmatrix}1&2\\3&4\end{pmatrix} || \begin{pmatrix}1&2\\3&4\end{pmatrix}^T
\begin{pmatrix}1&2\\3&4\end{pmatrix} || \begin{vmatrix}1&2\\3&4\end{vmatrix}
-2 || \begin{pmatrix}1&2\\3&4\end{pmatrix}
-3 || \begin{vmatrix}1&2\\3&4\end{vmatrix}
(1,2) || 2\mathbf{i}+\mathbf{j} || A(2,1)
(1,2,0) || \hat i+2\hat j
5 || \det A=3 || 2a=5 || x^2=5 || \sqrt{x}=5 || |z|^2=5 || \text{not }x=5 || \text{if }x=5 || \text{maybe }x=5
5 || \text{4 or }x=5 || \sum_{k=1}^{3}k=5 || 5!=5 || 1{,}5 || 5 \text{ OR } 6 || \therefore x=6 || -5 || \text{negative }5
5 || \frac{5^\circ}{2} || 5\text{ or more} || \approx 6
\det A=3 || \det B=3
P(X=1)=0.5 || P(X=2)=0.5
4 || \int_0^1 x\,dx=4
7 || f(7)=3
f(3)=7 || g(3)=7
(-\infty,2) || |x-1|<2
1000 || 1'0000 || 100'0
1.5 || 1{,}50{,}
3{,}5 || 5{,}3
15 || 1{,}5 || 15'
0.125 || 125
125 || 0{,}125
320000 || 3.2x10^4
3.2 || 3.2 x
30^\circ15' || 30^\circ 16' || 30.15^\circ
\frac13 || 0.\dot{1}\dot{3}
2 || \log_28 || \text{A and }2
\sin\frac{x}{x} || \sin x
8 || \sin 8x/x
2x || \frac{d}{dx}x^3
\frac{dy}{dx} || \frac{dx}{dy} || \frac{y}{x}
\frac{d^2y}{dx^2} || \frac{dy}{dx}
3-2i || 3+2j
3-2j || 3+2i
i || j
5\text{ kg} || \SI{5}{g} || \SI{5}{m}
5\text{ m/s} || \SI{5}{\meter\per\second\squared}
5\text{ kJ/(kg K)} || 5\text{ kJ/kg}\cdot\text{K} || 5\text{ kJ K/kg}
500\ \Omega || 500\text{ k}\Omega || 500\text{ m}
5\ \mu\text{m} || 5\text{ m} || 5\text{ mm}
5\text{ kB} || 5\text{ MB}
25\text{ sq cm} || 25\text{ cu cm}
2\text{ hours and }30\text{ minutes} || 2\text{ hours and }20\text{ minutes} || 2\text{ hours}
A1_{16} || a2_{16} || a1_{17}
a_{16} || 10 || 10_{10}
101_2 || 101\text{ base }3
255 || 0xFE
[0,2] || [0,1]\cup(1,3] || [0,1)\cup(1,2]
(0,2) || (0,1)\cup(1,2)
(-\infty,\infty) || x\ne 0
x\ne1\text{ and }x\ne2 || x\ne1
x>3, x\in\mathbb{R} || x\ge3
A,C || AB
A || AC
AC || A || A \text{ or } B
ABC || C,B,A || CBA
x=1,2 || x_1=1,x_2=3 || x_1=1 || y_1=1,y_2=2
x_1=1,x_2=2 || x_1=2,x_2=1
x=1,y=2 || (y,x)=(1,2) || x=2 \\ y=1
(1,2)(3,4) || (1,2),(4,3)
A(1,2) || B(1,2)
(1,2,3) || <1,3,2>
2:3 || 3 to 2 || 2, 3
2 to 3 || 2
3 || 2 to 3 || two
\begin{cases}x&\text{if }x>0\\-x&\text{if }x\le0\end{cases} || \begin{cases}x&x\ge0\\-x&x<0\end{cases}
\begin{cases}x&\text{if }x>0\\-x&\text{if }x\le0\end{cases} || \begin{cases}-x&x>0\\x&x\le0\end{cases}
\begin{cases}x&\text{if }x>0\\-x&\text{otherwise}\end{cases} || \begin{cases}x&x>0\\-x&x<0\end{cases}
25 || twenty-six
\frac23 || two fourths
12:00 am || noon
March 5, 2024 || 2024/05/03 || April 5, 2024
0.09 \text{ OR } \frac{9}{100} || 0.9
2 \text{ or } 3 || 3
k\pi, k\in\mathbb{Z} || k\pi\text{ where }k\text{ is an odd integer} || 2k\pi\text{ for all integers }k
f(x)=x || f(x)=x\text{ for some }x || f(x)=2x\text{ for all }x
12 || 12th of 13 || 13^{\text{th}}\text{ grade}
\$5 || EUR 5 || 5\text{ cents}
-5 || 5
n2^{n-2} || n2^{n-1}
C_5^2 || 20
x || \mathbf{y}
\mathbb{R} || \mathbb Z
\max(a,b) || \min\{a,b\}
n! || \Gamma(n)
\frac{\pi^2}{6} || \zeta(3)
5\text{ years old} || 5\text{ months old}
50 || 0.5\text{ per cent}
a || b)
1 || \frac{d}{dx}
5.5
6.9
C_1^2+C_2^2 || 1
C_1^2 || 0
C_2^2 || 1
5 || x-5=0 || x+5=10 || five or six || \text{five hundred} || \text{5 to 6} || \sum_{k=1}^3 k = 5
(3,4) || 3i+4k || 4i+3j
3+4i || 3i+4 || 4+3j
3,4 || AC
12 || a dozen or so
100 || one
1 || one half || \log_{10}
3 || three quarters
2 || second || 1 \text{ or } 2
[0,1]\cup[2,3] || [0,3]
[1,2] || [1,2]\cup\{5\}
\{1,2\} || [1,2]
\{1\}\cup\{2\} || [1,2]
x=1,2,3 || x_1=1,x_2=2
(1,2),(3,4) || (1,2)(4,3) || (1,2)
7 || f(7) || f(x)=7x
5/6 || 5:7
\frac56 || 6 \text{ to } 5
2\text{ hours and }30\text{ minutes} || 30\text{ minutes and }3\text{ hours}
5\text{ ft and }3\text{ lb} || 5\text{ ft}
0.5 || 1 \text{ OR } 2
1.2 || (1{,}2{,}3)
\int_0^1 x\,dx || \int_0^1 x\,dx=1
\frac12 || \int_0^1 x\,dx=\frac13 || \int_0^1 x^2\,dx=\frac12
x^2 || \frac{d}{dx}x^2
\sin x || \frac{d}{dx}\sin x
\log_2 10 || \log_{21} 0
\log_{10} 5 || \log_1 05
5\text{ N m} || 5\text{ nm}
5\ \mu\text{g} || 5\text{ mg}
5\text{ kg m/s}^2 || 5\text{ kg m/s}
\$5/\text{hour} || \$5 || \$5/\text{day}
90 || 90''
1^\circ || 60''
x^{*} || x
A^T || A^{-1}
\tan x || \operatorname{ctg} x
x\ne1 || x\ne1,2
x\ne\pm1 || x\ne1
12:00\text{ a.m.} || noon
\begin{pmatrix}4\\6\end{pmatrix} || \begin{pmatrix}1\\2\end{pmatrix}-\begin{pmatrix}3\\4\end{pmatrix}
\begin{pmatrix}1\\2\end{pmatrix} || \begin{pmatrix}1\\2\end{pmatrix}+\begin{pmatrix}0&0\end{pmatrix}
A^{-1}=\begin{pmatrix}1&2\\3&4\end{pmatrix} || A=\begin{pmatrix}1&2\\3&4\end{pmatrix}
\Delta H=-5\text{ kJ/mol} || \Delta S=-5\text{ kJ/mol} || 5\text{ kJ/mol}
a_n=3n+1 || a_n=3n-1, n\ge1 || a_n=3n+1, n=5
(0,\infty) || \mathbb{R} || \mathbb{R}^*
\mathbb{Z}^+ || \mathbb{Z}
\{(1,2),(3,4)\} || (1,2)
5 || E^2=5
"""


@pytest.mark.parametrize(("lines", "reason"), [(RIGHT, "correct"), (WRONG, "wrong")])
def test_notations_of_answers(lines, reason):
    rows = [line.split(" || ") for line in lines.strip().splitlines()]
    pairs = [(answer, gold) for gold, *answers in rows for answer in answers]
    both = [*pairs, *((gold, answer) for answer, gold in pairs)]
    reasons = judge_answers(both, timeout_seconds=30.0)
    assert [pair for pair, given in zip(both, reasons, strict=True) if given != reason] == []
