"""What a page of another web site can try against the servers of `laconic up`, in a browser and with plain requests."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Every attempt reports "refused", or what it has got. A page may send, but must neither be answered nor have changed anything.
ATTEMPTS = """
async ([prefect, mlflow, deployment, command]) => {
  const run = JSON.stringify({name: "foreign", parameters: {config: "configs/smoke.toml"}, job_variables: {command}});
  const plain = JSON.stringify({name: "foreign", parameters: {config: "configs/smoke.toml"}});
  const json = {"Content-Type": "application/json"};
  const made = '{"name": "foreign"}';
  const create = `${prefect}/api/deployments/${deployment}/create_flow_run`;
  const asked = async (address, options) => {
    try { const answer = await fetch(address, options); return answer.type + " " + answer.status + " " + await answer.text(); }
    catch (error) { return "refused"; }
  };
  const socket = (path, words) => new Promise(resolve => {
    const opened = new WebSocket(prefect.replace("http", "ws") + path, words);
    opened.onopen = () => resolve("open");
    opened.onerror = () => resolve("refused");
    setTimeout(() => resolve("silent"), 8000);
  });
  const shown = (kind, address) => new Promise(resolve => {
    const element = document.createElement(kind);
    element.onload = () => resolve("loaded");
    element.onerror = () => resolve("refused");
    element.src = address;
    document.body.append(element);
    setTimeout(() => resolve("silent"), 8000);
  });
  const form = (address, name) => {
    const sink = Object.assign(document.createElement("iframe"), {name: "sink-" + name});
    const sent = Object.assign(document.createElement("form"), {method: "post", enctype: "text/plain", action: address, target: sink.name});
    sent.append(Object.assign(document.createElement("input"), {name: plain.slice(0, -1) + ', "x": "', value: '"}'}));
    document.body.append(sink, sent);
    sent.submit();
  };
  form(create, "prefect");
  return {
    json: await asked(create, {method: "POST", headers: json, body: run}),
    json_without_command: await asked(create, {method: "POST", headers: json, body: plain}),
    read_runs: await asked(`${prefect}/api/flow_runs/filter`, {method: "POST", headers: json, body: "{}"}),
    read_token: await asked(`${prefect}/api/csrf-token?client=foreign`),
    read_settings: await asked(`${prefect}/ui-settings`),
    events_in: await socket("/api/events/in", []),
    events_out: await socket("/api/events/out", ["prefect"]),
    logs_out: await socket("/api/logs/out", ["prefect"]),
    script: await shown("script", `${prefect}/api/csrf-token?client=foreign`),
    mlflow_json: await asked(`${mlflow}/ajax-api/2.0/mlflow/experiments/create`, {method: "POST", headers: json, body: made}),
    mlflow_read: await asked(`${mlflow}/ajax-api/2.0/mlflow/experiments/search?max_results=5`),
    mlflow_read_api: await asked(`${mlflow}/api/2.0/mlflow/experiments/search?max_results=5`),
    mlflow_graphql: await asked(`${mlflow}/graphql`, {method: "POST", headers: json, body: '{"query": "{__typename}"}'}),
    mlflow_artifact: await asked(`${mlflow}/get-artifact?path=x&run_uuid=y`),
    // What cannot be seen by the page may still act: these are judged by what has changed.
    simple: void await asked(create, {method: "POST", mode: "no-cors", body: plain}) || "refused",
    mlflow_simple: void await asked(`${mlflow}/api/2.0/mlflow/experiments/create`, {method: "POST", mode: "no-cors", body: made})
      || "refused",
  };
}
"""


@contextmanager
def foreign_site() -> Iterator[int]:
    """An empty web site on a port of this machine."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>foreign</title><body></body>")

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
