"""The server: who is answered, what is refused in one sentence, and which request wins."""

from __future__ import annotations

import http.client
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.preview.running import TOKEN, running
from tests.preview.subjects import subject
from torchio_gpu.cli import app
from torchio_gpu.preview import server
from torchio_gpu.preview.session import Session

NOISE = {"name": "RandomNoise", "arguments": {"std": 5}}


class SlowSession(Session):
    """Session that waits before it computes until it may."""

    gate = threading.Event()
    computed: list[int]

    def result(self, wish):
        self.computed.append(wish.seed)
        assert self.gate.wait(60)
        return super().result(wish)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with running(lambda: Session(subject((12, 12, 12)))) as (_, port):
        while not json.loads(ask(port, "GET", "/state")[2]).get("ready"):
            time.sleep(0.05)
        yield port


def ask(
    port: int, method: str, path: str, body: object = None, token: str = f"/{TOKEN}", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and content of an answer; headers are given with _ for -."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    content = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
    sent = {"Host": f"127.0.0.1:{port}", "Content-Type": "application/json"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, token + path, content, sent)
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def test_the_page_and_its_files_are_there(port):
    status, headers, content = ask(port, "GET", "/")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    named = set(re.findall(r'(?:src|href)="([^"#]+)"', content.decode()))
    assert named == {"icon.svg", "page.js", "style.css"}
    for path in Path(server.__file__).with_name("static").iterdir():
        found, _, content = ask(port, "GET", f"/{path.name}" if path.suffix != ".html" else "/")
        assert (found, content) == (200, path.read_bytes())
        assert not re.search(rb"https?://(?!www\.w3\.org/2000/svg)", content)  # a name, no address


def test_all_answers_have_the_headers_of_a_private_page(port):
    for answer in (
        ask(port, "GET", "/"), ask(port, "GET", "/state"), ask(port, "GET", "/none"),
        ask(port, "POST", "/result", {"steps": [NOISE]}), ask(port, "GET", "/", token="/wrong"),
        ask(port, "POST", "/result", b"{"), ask(port, "GET", "/", Host="evil.example"),
    ):  # fmt: skip
        headers = answer[1]
        policy = dict(
            each.strip().split(" ", 1) for each in headers["content-security-policy"].split(";")
        )
        assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
        assert policy["script-src"] == policy["connect-src"] == policy["style-src"] == "'self'"
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers or "uvicorn" in headers["server"]


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", ""),
        "localhost.evil.example:{port}",
    ],
)
def test_other_hosts_are_refused(port, host):
    status, _, content = ask(port, "GET", "/state", Host=host.format(port=port))
    assert status == 403
    assert json.loads(content)["error"].startswith("Host must be 127.0.0.1 with the port")


def test_localhost_is_this_machine(port):
    assert ask(port, "GET", "/state", Host=f"localhost:{port}")[0] == 200


@pytest.mark.parametrize(
    "token", ["", "/", "/wrong", f"/{TOKEN[:-1]}", f"/{TOKEN}x", f"/../{TOKEN}"]
)
@pytest.mark.parametrize("path", ["/", "/state", "/page.js"])
def test_without_the_token_there_is_nothing(port, token, path):
    status, _, content = ask(port, "GET", path, token=token)
    assert status == 404
    assert "must have the token" in json.loads(content)["error"]
    assert TOKEN not in content.decode()


@pytest.mark.parametrize(
    "path",
    [
        *("/server.py", "/../server.py", "/%2e%2e/server.py", "/docs", "/openapi.json"),
        *("//etc/passwd", "/static/page.js"),
    ],
)
def test_no_other_file_is_served(port, path):
    status, _, content = ask(port, "GET", path)
    assert status == 404
    assert json.loads(content) == {"error": "there is nothing here: Not Found"}


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1:{port}"]
)
def test_other_origins_are_refused(port, origin):
    answer = ask(port, "POST", "/texts", {"steps": []}, Origin=origin.format(port=port))
    assert answer[0] == 403
    assert "must come from the page itself" in json.loads(answer[2])["error"]
    assert ask(port, "POST", "/texts", {"steps": []}, Origin=f"http://127.0.0.1:{port}")[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "said"),
    [
        ("PUT", "/state", None, {}, 405, "the method must be GET or POST"),
        ("GET", "/result", None, {}, 405, "there is nothing here"),
        ("POST", "/result", b"x" * (2**20 + 1), {}, 413, "at most 1048576 bytes"),
        ("POST", "/result", b"{}", {"Content_Type": "text/plain"}, 415, "must be application/json"),
        ("POST", "/result", b"{", {}, 422, "JSON decode error"),
        ("POST", "/result", {"steps": 3}, {}, 422, "steps: Input should be a valid list"),
        ("POST", "/result", {"seed": -1}, {}, 422, "seed: Input should be greater than"),
        ("POST", "/result", {"steps": [{"name": "RandomBlr"}]}, {}, 400, "RandomBlr"),
        ("POST", "/result", {"steps": [{"name": "RandomBlur", "arguments": {"std": -1}}]}, {}, 400,
         "std must be a range (a, b) with a <= b, got -1"),
        ("POST", "/result", {"steps": [NOISE] * 41}, {}, 400, "at most 40 steps"),
        ("POST", "/strip", {"variants": [{}] * 13}, {}, 400, "at most 12 pictures"),
        ("POST", "/strip", {"variants": [{"step": 5, "argument": "std", "value": 1}]}, {}, 400,
         "step of a variant must be one of the pipeline, got 5"),
        ("POST", "/load", {"text": "import os"}, {}, 400, "text must make a transform"),
        ("POST", "/load", {"text": "torchio_gpu: 1\npipeline: [Resample: /x]"}, {}, 400,
         "only files"),
        ("POST", "/result",
         {"steps": [{"name": "Resample", "arguments": {"target": "/etc/hosts"}}]},
         {}, 400, "since only files of the command line are read"),
    ],
)  # fmt: skip
def test_bad_requests_get_one_sentence(port, method, path, body, headers, status, said):
    found, _, content = ask(port, method, path, body, **headers)
    error = json.loads(content)["error"]
    assert found == status
    assert said in error
    assert error
    assert "\n" not in error


def test_an_error_names_its_step(port):
    wrong = {"name": "Crop", "arguments": {"cropping": 100}}
    content = json.loads(ask(port, "POST", "/result", {"steps": [NOISE, wrong]})[2])
    assert content["step"] == 1


def test_a_request_without_length_is_refused(port):
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.sendall(
            f"POST /{TOKEN}/result HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: "
            "application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n".encode()
        )
        assert connection.recv(64).startswith(b"HTTP/1.1 413")


def test_it_listens_on_loopback_alone(port):
    others = {each[4][0] for each in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    for address in others - {"127.0.0.1"}:
        if address.startswith("127."):
            continue
        with pytest.raises(OSError), socket.create_connection((address, port), 2):
            pass


def test_only_the_newest_request_is_answered():
    slow = SlowSession(subject((8, 8, 8)))
    slow.computed = []
    with running(lambda: slow) as (_, port), ThreadPoolExecutor(6) as threads:
        while not json.loads(ask(port, "GET", "/state")[2]).get("ready"):
            time.sleep(0.05)
        waiting = []
        for seed in range(5):
            body = {"steps": [NOISE], "seed": seed}
            waiting.append(threads.submit(ask, port, "POST", "/result", body))
            deadline = time.monotonic() + 30
            while seed == 0 and not slow.computed and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.15)  # they arrive in this order
        slow.gate.set()
        statuses = [each.result()[0] for each in waiting]
    assert slow.computed == [0, 4]
    assert statuses == [200, 409, 409, 409, 200]


def test_an_image_that_cannot_be_read_is_said():
    def fail() -> Session:
        raise OSError("scan.nii.gz is no image\nand more")

    with running(fail) as (_, port):
        deadline = time.monotonic() + 30
        while ask(port, "GET", "/state")[0] == 200 and time.monotonic() < deadline:
            time.sleep(0.02)
        for method, path, body in [("GET", "/state", None), ("POST", "/result", {})]:
            status, _, content = ask(port, method, path, body)
            assert (status, json.loads(content)["error"]) == (400, "scan.nii.gz is no image")


def start(*words: str, cwd: object = None) -> subprocess.Popen[str]:
    roots = os.pathsep.join(os.path.abspath(p) for p in sys.path if p)
    return subprocess.Popen(
        [sys.executable, "-m", "torchio_gpu", "preview", "--no-browser", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd,
        env={**os.environ, "PYTHONPATH": roots},
    )  # fmt: skip


def test_the_command_serves_the_files_it_names(tmp_path):
    given = subject((12, 12, 12))
    given.t1.save(tmp_path / "t1.nii.gz")
    given.seg.save(tmp_path / "seg.nii.gz")
    (tmp_path / "augment.yaml").write_text("torchio_gpu: 1\npipeline: [RandomBlur: 1]\n")
    (tmp_path / "marks.csv").write_text("x,y,z\n1,2,3\n")
    words = "--image t1=t1.nii.gz --label seg=seg.nii.gz --points marks=marks.csv"
    process = start(*words.split(), "--pipeline", "augment.yaml", cwd=tmp_path)
    try:
        line = process.stdout.readline()
        port, token = re.search(r"http://127\.0\.0\.1:(\d+)(/[\w-]{20,})/ ", line).groups()
        state = {"ready": False}
        deadline = time.monotonic() + 90
        while not state.get("ready") and time.monotonic() < deadline:
            time.sleep(0.1)
            state = json.loads(ask(int(port), "GET", "/state", token=token)[2])
        assert [each["name"] for each in state["images"]] == ["t1", "seg"]
        assert state["points"] == ["marks"]
        assert state["steps"] == [{"name": "RandomBlur", "arguments": {"std": 1}, "on": True}]
        text = json.loads(ask(int(port), "POST", "/texts", {"steps": []}, token=token)[2])["python"]
        assert "tio.LabelMap('seg.nii.gz')" in text
        assert "subject['marks'] = tio.Points('marks.csv')" in text
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors


def test_commands_of_the_documentation_serve_a_page(tmp_path):
    for name in ("t1", "seg"):
        subject((8, 8, 8))[name].save(tmp_path / f"{name}.nii.gz")
    (tmp_path / "augment.yaml").write_text("torchio_gpu: 1\npipeline: [RandomBlur]\n")
    (tmp_path / "marks.csv").write_text("x,y,z\n1,2,3\n")
    page = (Path(__file__).parents[2] / "docs/how_to/preview.md").read_text(encoding="utf-8")
    lines = re.findall(r"^torchio-gpu preview(.*)$", page, re.MULTILINE)
    assert len(lines) == 3
    for line in lines:
        process = start(*shlex.split(line), cwd=tmp_path)
        try:
            assert re.match(r"preview at http://127\.0\.0\.1:\d+/", process.stdout.readline()), line
        finally:
            process.terminate()
            process.communicate(timeout=60)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["none.nii.gz"], "'none.nii.gz' does not exist"),
        (["--points", "marks=none.csv", "--image", "t1=t1.nii"], "'t1.nii' does not exist"),
        (["--pipeline", "none.yaml"], "'none.yaml' does not exist"),
        (["--port", "70000"], "--port"),
    ],
)
def test_the_command_refuses_what_is_not_there(tmp_path, words, said):
    process = start(*words, cwd=tmp_path)
    _, errors = process.communicate(timeout=90)
    assert process.returncode == 2
    assert said in errors


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    result = CliRunner().invoke(app, ["preview"])
    assert result.exit_code == 2
    assert 'preview needs fastapi, which is not installed: pip install "torchio-gpu[preview]"' in (
        result.output
    )


def test_a_taken_port_and_a_damaged_file_end_the_command(tmp_path, port):
    (tmp_path / "t1.nii.gz").write_bytes(b"no image")
    for words, said in [
        (("--port", str(port)), f"port must be free, {port} cannot"),
        ((), "t1.nii.gz"),
    ]:
        process = start("t1.nii.gz", *words, cwd=tmp_path)
        _, errors = process.communicate(timeout=90)
        assert process.returncode == 2
        assert errors.startswith("torchio-gpu: ")
        assert said in errors
