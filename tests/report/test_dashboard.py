"""The wall around the real Optuna Dashboard, over real HTTP."""

import http.client
import json
import re
import runpy
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna_dashboard import wsgi

from lrsearch.errors import EngineError, UsageError
from lrsearch.report import dashboard
from lrsearch.report.best_trial import optuna_best
from lrsearch.report.dashboard import find_study, guarded, open_server, open_storage, serve
from lrsearch.report.panels import PROGRESS_ID, RESPONSE_ID, study_note

TOKEN = "a-token-of-this-test-0123456789"  # noqa: S105
BEARER = {"Authorization": f"Bearer {TOKEN}"}
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "get")
INTRUDERS = {
    "no token": {},
    "wrong token": {"Authorization": "Bearer " + "x" * len(TOKEN)},
    "half a token": {"Authorization": f"Bearer {TOKEN[:-1]}"},
    "token as basic": {"Authorization": f"Basic {TOKEN}"},
    "token as cookie": {"Cookie": f"token={TOKEN}; lrsearch={TOKEN}"},
    "foreign host": BEARER | {"Host": "evil.example"},
    "localhost as a subdomain": BEARER | {"Host": "localhost.evil"},
    "localhost as a user": BEARER | {"Host": "localhost:80@evil.example"},
    "foreign origin": BEARER | {"Origin": "http://evil.example"},
    "origin of a file or a sandbox": BEARER | {"Origin": "null"},
    "origin of another port": BEARER | {"Origin": "http://127.0.0.1:1"},
    "cross-site": BEARER | {"Sec-Fetch-Site": "cross-site"},
    "same-site": BEARER | {"Sec-Fetch-Site": "same-site"},
}
pytestmark = pytest.mark.filterwarnings("ignore:Target and region quantiles")


class Client:
    """One request on one connection."""

    def __init__(self, port):
        self.port = port

    def __call__(self, path, method="GET", headers=BEARER):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()


@contextmanager
def served(server) -> Iterator[Client]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield Client(server.server_port)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def client(searched) -> Iterator[Client]:
    with served(open_server(searched.storage, 0, TOKEN)) as opened:
        yield opened


@pytest.fixture(scope="module")
def page(searched) -> int:
    return find_study(searched.storage, searched.result.study)


def routes(storage):
    """Every route of the dashboard as it is installed, with its placeholders filled in."""
    rules = {route.rule for route in wsgi(RDBStorage(storage)).routes}
    filled = {
        re.sub(r"<[^>]*>", "1", re.sub(r"<filename:path>", "bundle.js", re.sub(r"<:re:[^>]*>", "", rule)))
        for rule in rules
    }
    return sorted(filled)


def test_no_route_lets_an_intruder_in_or_anyone_write(searched, client):
    found = routes(searched.storage)
    assert len(found) > 20
    before = (searched.folder / "optuna.db").read_bytes()
    for path in found:
        for method in METHODS:
            for who, headers in INTRUDERS.items():
                status, _, body = client(path, method, headers)
                assert status in (401, 403, 405), (path, method, who, status)
                assert b"study" not in body
            if method not in ("GET", "HEAD"):
                assert client(path, method)[0] == 405, (path, method)
    assert (searched.folder / "optuna.db").read_bytes() == before


def test_the_same_requests_pass_with_the_token(client):
    for path in ("/dashboard", "/api/studies", "/api/meta", "/static/bundle.js", "/dashboard/studies/1/trials"):
        for method in ("GET", "HEAD"):
            assert client(path, method)[0] == 200, (path, method)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:99", "127.0.0.1:1", "[::1]", "[::1]:80"])
def test_loopback_names_are_served(client, host):
    assert client("/api/meta", headers=BEARER | {"Host": host})[0] == 200


def test_pages_of_its_own_may_ask(client):
    own = {"Origin": f"http://127.0.0.1:{client.port}", "Sec-Fetch-Site": "same-origin"}
    assert client("/api/studies", headers=BEARER | own)[0] == 200


def test_the_dashboard_serves_the_note_and_both_figures(searched, client, page):
    status, _, body = client(f"/api/studies/{page}")
    study = json.loads(body)
    assert status == 200
    kept = optuna.load_study(study_name=searched.result.study, storage=f"sqlite:///{searched.folder / 'optuna.db'}")
    assert study["note"]["body"] == study_note(searched.result, optuna_best(searched.result, kept))
    figures = {figure["id"]: json.loads(figure["graph_object"]) for figure in study["plotly_graph_objects"]}
    assert set(figures) == {RESPONSE_ID, PROGRESS_ID}
    assert all(figure["data"] for figure in figures.values())


def test_the_dashboard_serves_the_trials_of_the_study(searched, client, page):
    listed = json.loads(client("/api/studies")[2])["study_summaries"]
    assert [study["study_name"] for study in listed] == [searched.result.study]
    trials = json.loads(client(f"/api/studies/{page}")[2])["trials"]
    tried = [t for t in searched.result.history if t.role in ("default", "candidate")]
    assert len(trials) == sum(one.policy.form in searched.result.setup.raw.forms for one in tried)
    assert client(f"/csv/{page}")[2].startswith(b'Number,State,"validation top-1, the search\'s own seed"')


def test_the_token_in_the_address_becomes_a_cookie(client, page):
    path = f"/dashboard/studies/{page}"
    status, headers, body = client(f"{path}?a=1&token={TOKEN}&b=2", headers={})
    assert (status, headers["Location"], headers["Cache-Control"]) == (302, f"{path}?a=1&b=2", "no-store")
    cookie, *flags = headers["Set-Cookie"].split("; ")
    assert flags == ["Path=/", "HttpOnly", "SameSite=Strict"]
    assert TOKEN not in cookie
    assert TOKEN.encode() not in body
    assert client(path, headers={"Cookie": cookie})[0] == 200
    assert client(path, headers={"Cookie": f"other=1; {cookie}; more=2"})[0] == 200
    assert client(path, headers={"Cookie": cookie[:-1] + "x"})[0] == 401


@pytest.mark.parametrize("query", ["token=", "token=wrong", "token=%C3%A9", "token=%ff", f"Token={TOKEN}"])
def test_a_wrong_token_in_the_address_sets_no_cookie(client, query):
    status, headers, _ = client(f"/dashboard?{query}", headers={})
    assert status == 401
    assert "Set-Cookie" not in headers


@pytest.mark.parametrize(
    "path", ["//evil.example/x", "///evil.example", "/\\evil.example", "/%0d%0aX-Evil:1", "/%5Cevil.example"]
)
def test_the_redirect_stays_on_this_host(client, path):
    status, headers, _ = client(f"{path}?token={TOKEN}", headers={})
    assert status == 302
    assert re.match(r"/(?![/\\])", headers["Location"])
    assert "X-Evil" not in headers


@pytest.mark.parametrize(
    "path", ["/static/../_app.py", "/static/..%2f_app.py", "/static/%2e%2e/%2e%2e/x", "/static/..%5c_app.py"]
)
def test_no_file_outside_the_pages_is_served(client, path):
    assert client(path)[0] in (403, 404)


def test_further_hosts_can_be_allowed(searched):
    app = guarded(dashboard.application(searched.storage), TOKEN, [" LR.example ", ""])
    server = open_server(searched.storage, 0, TOKEN)
    server.set_app(app)
    with served(server) as client:
        assert client("/api/meta", headers=BEARER | {"Host": "lr.example"})[0] == 200
        assert client("/api/meta", headers=BEARER | {"Host": ""})[0] == 403
        assert client("/api/meta", headers=BEARER | {"Host": "lr.example.evil"})[0] == 403


@pytest.mark.parametrize("token", ["", "short"])
def test_no_token_no_dashboard(token):
    with pytest.raises(UsageError, match="token of at least 16"):
        guarded(lambda environ, start: [], token)


def test_the_storage_itself_cannot_be_written(searched):
    study = optuna.load_study(study_name=searched.result.study, storage=open_storage(searched.storage))
    with pytest.raises(StorageInternalError, match="during the commit") as error:
        study.set_user_attr("a", 1)
    assert "readonly" in str(error.value.__cause__)


def test_a_mistyped_path_is_refused_and_no_file_made(tmp_path):
    missing = tmp_path / "optuna.db"
    with pytest.raises(EngineError, match=r"no Optuna storage at .*run `lrsearch search` first"):
        serve(f"sqlite:///{missing}", 0, TOKEN)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url", ["optuna.db", "sqlite://", "mysql://a:secret@b/c", "postgresql://a:secret@127.0.0.1:1/c"]
)
def test_what_is_no_storage_is_refused_without_its_password(url):
    with pytest.raises(EngineError) as error:
        open_storage(url)
    assert "secret" not in str(error.value)


def test_a_database_of_another_program_is_refused(searched, tmp_path):
    with pytest.raises(EngineError, match="cannot be opened as an Optuna storage"):
        open_storage(f"sqlite:///{searched.folder / 'store.db'}")
    (tmp_path / "text.db").write_text("hello")
    with pytest.raises(EngineError, match="not an Optuna storage"):
        open_storage(f"sqlite:///{tmp_path / 'text.db'}")


def test_a_taken_port_is_said(searched):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(EngineError, match=r"cannot open port \d+ on 127.0.0.1: .*--port"):
            serve(searched.storage, taken.getsockname()[1], TOKEN)
    with pytest.raises(EngineError, match="cannot open port 70000"):
        serve(searched.storage, 70000, TOKEN)


def test_the_newest_study_is_found_and_an_unknown_name_refused(tmp_path):
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    storage = RDBStorage(url)
    with pytest.raises(EngineError, match="no study yet"):
        find_study(url)
    for name in ("first", "second"):
        optuna.create_study(study_name=name, storage=storage)
    assert (find_study(url), find_study(url, "first")) == (2, 1)
    with pytest.raises(EngineError, match="no study 'secnd'; did you mean 'second'"):
        find_study(url, "secnd")


WSGI = Path(__file__).parents[2] / "dashboards" / "wsgi.py"


def test_the_deployed_app_reads_its_token_from_a_file(searched, tmp_path, monkeypatch):
    (tmp_path / "token").write_text(TOKEN + "\n")
    monkeypatch.setenv("LRSEARCH_OPTUNA", searched.storage)
    monkeypatch.setenv("LRSEARCH_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("LRSEARCH_HOSTS", "lr.example,other.example")
    server = open_server(searched.storage, 0, "another token, not asked for")
    server.set_app(runpy.run_path(str(WSGI))["application"])
    with served(server) as client:
        assert client("/api/meta", headers=BEARER | {"Host": "lr.example"})[0] == 200
        assert client("/api/meta", headers={"Host": "lr.example"})[0] == 401
        assert client(f"/dashboard?token={quote(TOKEN)}", headers={})[0] == 302


@pytest.mark.parametrize(("name", "message"), [("LRSEARCH_OPTUNA", "LRSEARCH_OPTUNA"), ("LRSEARCH_TOKEN", "token")])
def test_the_deployed_app_refuses_to_start_without(searched, monkeypatch, name, message):
    monkeypatch.setenv("LRSEARCH_OPTUNA", searched.storage)
    monkeypatch.setenv("LRSEARCH_TOKEN", TOKEN)
    monkeypatch.delenv("LRSEARCH_TOKEN_FILE", raising=False)
    monkeypatch.delenv(name)
    with pytest.raises(UsageError, match=message):
        runpy.run_path(str(WSGI))


def test_the_command_prints_one_line_that_opens_the_study_and_ends_with_code_0_at_ctrl_c(searched, page):
    import signal
    import subprocess
    import sys
    import urllib.request
    from http.cookiejar import CookieJar

    source = (
        "import sys; from pathlib import Path; from lrsearch.cli.dashboard import dashboard; "
        "dashboard(out=Path(sys.argv[1]), optuna=None, port=0, study=None)"
    )
    command = [sys.executable, "-c", source, str(searched.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            address = process.stdout.readline().strip()
            assert f"/dashboard/studies/{page}?token=" in address
            opener = urllib.request.build_opener(
                urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(CookieJar())
            )
            with opener.open(address, timeout=30) as answer:
                assert answer.status == 200
                assert answer.url == address.partition("?")[0]
        finally:
            process.send_signal(signal.SIGINT)
        rest, told = process.communicate(timeout=30)
    assert (process.returncode, rest) == (0, "")
    assert "Ctrl-C" in told
    assert address.rpartition("=")[2] not in told
