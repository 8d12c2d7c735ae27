"""The configuration: what a file and the variables may say, and what is said about those that are wrong."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
import pytest

from holdfast.config import Auth, Config, Durability, Project, Queue, Route, Webhook, load
from holdfast.core.model import Rate
from holdfast.errors import ConfigError

EXAMPLE = Path(__file__).parents[1] / "config.example.toml"


def from_text(directory: Path, text: str, **env: str) -> Config:
    file = directory / "holdfast.toml"
    file.write_text(text)
    return load(file, env=env)


def complaint(directory: Path, text: str, **env: str) -> str:
    with pytest.raises(ConfigError) as caught:
        from_text(directory, text, **env)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{directory / 'holdfast.toml'}: ")


# --- config.example.toml


def with_comments_in(text: str) -> str:
    """The example with its `#key = value` and `#[table]` lines made real; prose comments have a space after the #."""
    return re.sub(r"^#(?=[a-zA-Z_]+ = |\[)", "", text, flags=re.MULTILINE)


def keys_of_structs(kind: Any, path: str = "") -> set[str]:
    hints = get_type_hints(kind)
    found: set[str] = set()
    for key in hints.keys() - ({"base", "file", "default_project", "secrets_key"} if kind is Config else set()):
        hint = next((part for part in get_args(hints[key]) if isinstance(part, type) and part is not str), hints[key])
        here = f"{path}{key}"
        if get_origin(hints[key]) is tuple and get_args(hints[key])[0] in (Webhook, Route):
            found |= keys_of_structs(get_args(hints[key])[0], f"{here}.")
            continue
        named = get_origin(hints[key]) is dict
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct) and hint is not Rate:  # written as one text
            found |= keys_of_structs(hint, f"{here}.NAME." if named else f"{here}.")
        else:
            found.add(here)
    return found


def keys_of_file(tree: dict[str, Any], path: str = "") -> set[str]:
    found: set[str] = set()
    for key, value in tree.items():
        here = f"{path}{key}"
        if isinstance(value, list) and value and isinstance(value[0], dict):
            found |= set().union(*(keys_of_file(item, f"{here}.") for item in value))
        elif isinstance(value, dict) and here != "projects.NAME.env":
            if here in ("projects", "queues"):
                for item in value.values():
                    found |= keys_of_file(item, f"{here}.NAME.")
            else:
                found |= keys_of_file(value, f"{here}.")
        else:
            found.add(here)
    return found


def test_the_example_names_every_key_and_no_other() -> None:
    example = tomllib.loads(with_comments_in(EXAMPLE.read_text()))

    assert keys_of_file(example) == keys_of_structs(Config)


def test_an_example_without_a_key_or_with_one_too_many_would_be_noticed() -> None:
    text = EXAMPLE.read_text()

    assert keys_of_structs(Config) - keys_of_file(tomllib.loads(with_comments_in(text.replace("drain = ", "#")))) == {
        "projects.NAME.drain"
    }
    assert "hooks.style" not in keys_of_file(tomllib.loads(with_comments_in(text.replace("#style = ", "# style = "))))
    assert "nats.extra" in keys_of_file(tomllib.loads(text.replace("[nats]", "[nats]\nextra = 1")))


def test_the_example_as_it_stands_is_the_defaults(tmp_path: Path) -> None:
    example = from_text(tmp_path, EXAMPLE.read_text())
    defaults = from_text(tmp_path, "")

    assert example.project("default") == Project() == defaults.project("default")
    assert example.queue("default") == Queue() == defaults.queue("default")
    assert msgspec.structs.replace(example, projects={}, queues={}) == defaults


def test_the_commented_keys_of_the_example_are_accepted(tmp_path: Path) -> None:
    text = with_comments_in(EXAMPLE.read_text()).replace("embedded = true", "embedded = false")

    config = from_text(tmp_path, text)

    assert config.nats.url == "nats://nats.example.com:4222"
    assert config.nats.tls is not None
    assert config.queue("default").concurrency == 10
    assert [(hook.name, hook.style, hook.tolerance) for hook in config.hooks] == [("stripe", "stripe", 300)]


# --- the file


def test_defaults_are_the_documented_ones(tmp_path: Path) -> None:
    config = from_text(tmp_path, "")

    assert (config.nats.embedded, config.nats.port, config.nats.url, config.nats.replicas) == (True, 4222, None, 1)
    assert config.nats.durability is Durability.ALWAYS
    assert config.daemon.http == "127.0.0.1:8377"
    assert config.daemon.address == ("127.0.0.1", 8377)
    assert config.data_dir == tmp_path / ".holdfast"
    project = config.project("anything")
    assert (project.workers.min, project.workers.concurrency, project.drain) == (2, 100, 10)
    assert (project.workers.max, project.workers.most) == (None, 2)
    assert config.default_project == "default"


def test_the_nearest_file_above_the_current_directory_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    (tmp_path / "holdfast.toml").write_text("[nats]\nport = 1")
    (tmp_path / "a" / "holdfast.toml").write_text("[nats]\nport = 2")
    monkeypatch.chdir(deep)

    config = load(env={})

    assert config.nats.port == 2
    assert config.base == tmp_path / "a"
    assert config.data_dir == tmp_path / "a" / ".holdfast"


def test_without_a_file_paths_are_relative_to_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    config = load(env={})

    assert (config.file, config.base) == (None, tmp_path)


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    for arguments in (
        {"path": tmp_path / "no.toml", "env": {}},
        {"env": {"HOLDFAST_CONFIG": str(tmp_path / "no.toml")}},
    ):
        with pytest.raises(ConfigError, match=r"no\.toml: expected a configuration file, found none"):
            load(**arguments)


def test_a_directory_or_another_encoding_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a readable file"):
        load(tmp_path, env={})
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="expected UTF-8"):
        load(tmp_path / "x.toml", env={})


def test_a_byte_order_mark_and_windows_lines_are_read(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"\xef\xbb\xbf[nats]\r\nport = 7\r\n")

    assert load(tmp_path / "x.toml", env={}).nats.port == 7


def test_a_url_alone_turns_the_embedded_server_off(tmp_path: Path) -> None:
    config = from_text(tmp_path, '[nats]\nurl = "nats://a:4222,nats://b:4222"')

    assert (config.nats.embedded, config.nats.url) == (False, "nats://a:4222,nats://b:4222")


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ('"30d"', 2_592_000),
        ('"12h"', 43_200),
        ('"90s"', 90),
        ('"250ms"', 0.25),
        ('"1.5m"', 90),
        ("45", 45),
        ("0.5", 0.5),
    ],
)
def test_durations_are_seconds_or_strings_with_a_unit(tmp_path: Path, written: str, seconds: float) -> None:
    drain = from_text(tmp_path, f"[projects.a]\ndrain = {written}").project("a").drain

    assert drain == seconds
    assert type(drain) is float


@pytest.mark.parametrize(
    ("written", "count"), [('"512MB"', 512_000_000), ('"2GiB"', 2_147_483_648), ("1000", 1000), ('"1.5 KiB"', 1536)]
)
def test_sizes_are_bytes_or_strings_with_a_unit(tmp_path: Path, written: str, count: int) -> None:
    found = from_text(tmp_path, f"[retention.logs]\nbytes = {written}").retention.logs.bytes

    assert found == count
    assert type(found) is int


@pytest.mark.parametrize("written", ['"3 weeks"', '"30"', '"-1s"', "-1", "inf", "nan", "true", '"1D"', "[]", '"1s 2s"'])
def test_what_is_no_duration_is_refused(tmp_path: Path, written: str) -> None:
    assert 'projects.a.drain: expected seconds or a duration like "30d"' in complaint(
        tmp_path, f"[projects.a]\ndrain = {written}"
    )


@pytest.mark.parametrize("written", ['"2G"', "0", "1.5", "-1", "true", '"MB"'])
def test_what_is_no_size_is_refused(tmp_path: Path, written: str) -> None:
    assert "retention.logs.bytes: expected bytes or a size" in complaint(
        tmp_path, f"[retention.logs]\nbytes = {written}"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[nats]\nprot = 1", "nats.prot: expected one of * found an unknown key; did you mean port?"),
        ("[project.x]", "project: expected one of * found an unknown key; did you mean projects?"),
        ("[projects.a.workers]\nmni = 1", "projects.a.workers.mni: expected * unknown key; did you mean min?"),
        ("[retention.logs]\nsize = 1", "retention.logs.size: expected one of age, bytes, found an unknown key"),
        ("base = '/'", "base: expected one of * found an unknown key"),
        ("[nats]\nport = 'x'", 'nats.port: expected a port from 0 to 65535, found "x"'),
        ("[nats]\nport = 65536", "nats.port: expected a port from 0 to 65535, found 65536"),
        ("[nats]\ndurability = 'never'", 'nats.durability: expected "always" or "interval", found "never"'),
        ("[nats]\nembedded = 1", "nats.embedded: expected true or false, found 1"),
        ("nats = 3", "nats: expected a table like [nats], found a number"),
        ("projects = []", "projects: expected a table like [projects], found a list"),
        ("[projects.a]\nmodules = 'x'", 'projects.a.modules: expected a list of strings, found "x"'),
        ("[projects.a]\nmodules = ['x', 1]", "projects.a.modules: expected a string at [1], found *"),
        ("[queues.q]\nconcurrency = 0", "queues.q.concurrency: expected a whole number from 1, found 0"),
        ("[daemon]\nhttp = '8377'", 'daemon.http: expected an address like "127.0.0.1:8377", found "8377"'),
        ("[nats]\nembedded = false", "nats: expected a url, as embedded is false, found embedded = false"),
        ("[nats]\nembedded = true\nurl = 'h'", "nats: expected either embedded = true or a url, not both, found *"),
        ("[nats]\nurl = 'h'\nuser = 'x'", "nats: expected user and password together, found *"),
        ("[nats]\nuser = 'x'\npassword='y'", "nats: expected a url, as creds, user, password and tls are for *"),
        ("[nats]\nreplicas = 3", "nats: expected replicas = 1, as the embedded server is a single one, found *"),
        ("[projects.a.workers]\nmax = 1", "projects.a.workers: expected a max of at least min, found max = 1"),
        ("[nats]\nurl = 'http://h'", 'nats.url: expected a URL like "nats://127.0.0.1:4222", found *'),
        ("[nats]\nurl = 'h:99999'", 'nats.url: expected a URL like "nats://127.0.0.1:4222", found *'),
    ],
)
def test_a_wrong_key_or_value_is_named_with_what_was_expected(tmp_path: Path, text: str, message: str) -> None:
    begin, _, end = message.partition(" * " if " * " in message else "*")
    said = complaint(tmp_path, text)

    assert said.startswith(begin)
    assert said.endswith(end)


@pytest.mark.parametrize("name", ["Upper", "-a", "_a", "a.b", "a b", "a*", "", "é", "a\\n"])
def test_names_that_are_no_subject_token_are_refused(tmp_path: Path, name: str) -> None:
    for section in ("projects", "queues"):
        assert "expected a name of a-z" in complaint(tmp_path, f'[{section}."{name}"]')
    if name:
        assert complaint(tmp_path, "", HOLDFAST_PROJECT=name).startswith("HOLDFAST_PROJECT: expected a name of a-z")


def test_a_syntax_error_has_its_line_and_column(tmp_path: Path) -> None:
    assert complaint(tmp_path, "[retention]\njournal = 30d").startswith("line 2, column 13: expected TOML")
    assert complaint(tmp_path, "[nats]\nport").startswith("line 2, column 5: expected TOML")


def test_secrets_never_appear_in_a_message_or_a_repr(tmp_path: Path) -> None:
    assert "hunter2" not in complaint(tmp_path, "[nats]\nurl = 'foo://u:hunter2@h'")
    assert "hunter2" not in complaint(tmp_path, "[nats]\nurl = 'h'\npassword = 'hunter2'")
    assert "hunter2" not in complaint(tmp_path, "[nats]\npassword = ['hunter2']")
    assert "hunter2" not in complaint(tmp_path, "[projects.a.env]\nKEY = ['hunter2']")
    config = from_text(
        tmp_path,
        "[nats]\nurl = 'nats://u:hunter2@h'\nuser = 'u'\npassword = 'hunter2'\n[projects.a.env]\nK = 'hunter2'",
    )
    assert "hunter2" not in repr(config)


# --- the variables


def test_variables_override_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    config = from_text(
        tmp_path,
        '[nats]\nembedded = true\ndurability = "always"\n[daemon]\ndata_dir = "x"',
        HOLDFAST_URL="nats://h:1",
        HOLDFAST_DURABILITY="interval",
        HOLDFAST_DATA_DIR="y",
        HOLDFAST_HTTP="[::1]:80",
        HOLDFAST_PROJECT="blue",
        HOLDFAST_WORKER_ID="w1",
        OTHER="ignored",
    )

    assert (config.nats.embedded, config.nats.url) == (False, "nats://h:1")
    assert config.nats.durability is Durability.INTERVAL
    assert config.data_dir == tmp_path / "here" / "y"
    assert config.daemon.address == ("::1", 80)
    assert config.default_project == "blue"


def test_an_empty_variable_counts_as_unset(tmp_path: Path) -> None:
    assert from_text(tmp_path, "", HOLDFAST_URL="").nats.embedded


def test_the_file_may_be_named_by_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other.toml").write_text("[nats]\nport = 9")
    monkeypatch.chdir(tmp_path)

    assert load(env={"HOLDFAST_CONFIG": "other.toml"}).nats.port == 9


def test_an_unknown_variable_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    said = complaint(tmp_path, "", HOLDFAST_DURABILTY="always")

    assert said.startswith("HOLDFAST_DURABILTY: expected one of ")
    assert said.endswith("found an unknown variable; did you mean HOLDFAST_DURABILITY?")


def test_a_wrong_variable_is_named_instead_of_the_file(tmp_path: Path) -> None:
    assert complaint(tmp_path, "", HOLDFAST_DURABILITY="x").startswith('HOLDFAST_DURABILITY: expected "always"')
    assert complaint(tmp_path, "", HOLDFAST_HTTP="x").startswith("HOLDFAST_HTTP: expected an address")
    assert "hunter2" not in complaint(tmp_path, "", HOLDFAST_URL="x://u:hunter2@h")


def test_a_project_says_how_long_its_runs_live_unless_they_say_it_themselves(tmp_path: Path) -> None:
    config = from_text(tmp_path, '[projects.a]\nttl = "15m"\n[projects.b]\nttl = 0')
    assert [config.project(name).ttl for name in ("a", "b", "c")] == [900.0, 0.0, 0.0]
    assert "projects.a.ttl: expected seconds or a duration" in complaint(tmp_path, "[projects.a]\nttl = -1")


def test_importing_the_configuration_is_light() -> None:
    code = "import sys, holdfast.config, holdfast.credentials; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": "sdk"},
        cwd=EXAMPLE.parent,
        capture_output=True,
        text=True,
        check=True,
    )

    assert not {"nats", "textual", "duckdb", "starlette", "asyncio"} & set(done.stdout.split())


# --- the HTTP interface and its hooks

HOOK = '[[hooks]]\nname = "pay"\nsecret = "PAY"\nsubject = "pay.in"\n'


def test_http_asks_for_tokens_unless_it_is_told_not_to(tmp_path: Path) -> None:
    assert from_text(tmp_path, "").http.auth is Auth.REQUIRED
    off = from_text(tmp_path, '[http]\nauth = "off"\nrate = "600/m"\nproxies = ["10.0.0.7", "10.1.0.0/16"]')
    assert (off.http.auth, off.http.rate, off.http.proxies) == (Auth.OFF, Rate(600, 60), ("10.0.0.7/32", "10.1.0.0/16"))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "[::1]:1", "localhost:1", "127.8.9.10:1"])
def test_only_on_loopback_may_nobody_be_asked(tmp_path: Path, address: str) -> None:
    from_text(tmp_path, f'[http]\nauth = "off"\n[daemon]\nhttp = "{address}"').check()
    for open_to_others in ("0.0.0.0:1", "[::]:1", "192.0.2.1:1", "example.com:1"):
        config = from_text(tmp_path, f'[http]\nauth = "off"\n[daemon]\nhttp = "{open_to_others}"')
        with pytest.raises(ConfigError, match=r'http\.auth: expected "required", as daemon\.http = .* found "off"'):
            config.check()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[http]\nauth = "none"', 'http.auth: expected "required" or "off", found "none"'),
        (
            '[http]\nrate = "100"',
            'http.rate: expected a rate like "50/s", "600/m" or "100/15s", found "100"',
        ),
        ('[http]\nrate = "0/s"', 'found "0/s"'),
        ("[http]\nrate = 5", "found 5"),
        ("[http]\ntimeout = 0", "http: expected a timeout above 0, found timeout = 0"),
        ('[http]\nproxies = ["nowhere"]', "http.proxies: expected a list of addresses or networks"),
        ("hooks = 1", "hooks: expected tables like [[hooks]], found a number"),
        ("[hooks]\na = 1", "hooks: expected tables like [[hooks]], found a table"),
        ("hooks = [1]", "hooks[0]: expected a table"),
        ('[[hooks]]\nname = "pay"', "hooks[0]: expected a name, a secret and a subject"),
        (f"{HOOK}tolerance = 601", "hooks[0]: expected a tolerance above 0 and of at most 600 s, found"),
        (f"{HOOK}tolerance = 0", "hooks[0]: expected a tolerance above 0"),
        (f'{HOOK}style = "gitlab"', 'hooks[0].style: expected "generic" or "github" or "stripe", found "gitlab"'),
        (f'{HOOK}styl = "github"', "hooks[0].styl: expected one of"),
        (HOOK.replace("pay.in", "pay.*"), 'hooks[0].subject: expected an event subject like "payments.settled"'),
        (HOOK.replace("PAY", "whsec_a+b/c="), "hooks[0].secret: expected the NAME of a secret"),
    ],
)
def test_what_http_and_hooks_can_not_be_is_said(tmp_path: Path, text: str, said: str) -> None:
    found = complaint(tmp_path, text)
    assert said in found
    assert "whsec" not in found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HOOK + HOOK, 'hooks[1].name: expected a name of its own, found "pay" a second time'),
        (f'{HOOK}project = "shop"\n[projects.shap]', 'hooks[0].project: expected one of default, shap, found "shop"'),
        (f'{HOOK}[retention.events]\nage = "10m"', "retention.events.age: expected at least 1200 s"),
    ],
)
def test_hooks_must_fit_the_rest(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_text(tmp_path, text).check()
    assert said in str(caught.value)


# --- routes

ROUTE = '[[routes]]\nsubject = "orders.*"\ntask = "ship"\n'


def test_a_route_says_which_events_start_which_task(tmp_path: Path) -> None:
    config = from_text(
        tmp_path,
        ROUTE
        + 'filter = "event.amount > 1"\nmap = \'{"id": event.id}\'\nname = "big"\nqueue = "mail"\npriority = 2\n'
        + 'delay = "10s"\nttl = "1h"\nconcurrency_key = "acme"\n[[routes]]\nsource = "shop.>"\ntask = "audit"\n',
    )

    big, audit = config.routes
    assert (big.subject, big.task, big.filter, big.map) == ("orders.*", "ship", "event.amount > 1", '{"id": event.id}')
    assert (big.queue, big.priority, big.delay, big.ttl, big.concurrency_key) == ("mail", 2, 10.0, 3600.0, "acme")
    assert (big.identity, audit.identity) == ("big", "shop.>:audit")
    assert (big.pattern, audit.pattern) == ("orders.*", "shop.>")
    assert config.sources_of("default") == ("shop.>",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("routes = 1", "routes: expected tables like [[routes]], found a number"),
        ('[routes]\ntask = "a"', "routes: expected tables like [[routes]], found a table"),
        (ROUTE + "[[routes]]", "routes[1]: expected a task, found none in: none"),
        ('[[routes]]\ntask = "ship"', "routes[0]: expected either a subject, of events by their names, or a source"),
        (ROUTE + 'source = "shop.>"', "routes[0]: expected either a subject"),
        (ROUTE + 'filtr = "true"', "routes[0].filtr: expected one of"),
        (
            ROUTE + ROUTE.replace("*", "paid") + 'filter = "event.amount >"',
            "routes[1].filter: expected an expression that can be read (line 1, column 15: mismatched input",
        ),
        (ROUTE + "map = \"{'a': evnt}\"", "routes[0].map: expected an expression of event, subject, tokens"),
        (ROUTE + "filter = 1", 'routes[0].filter: expected an expression like "event.amount > 100", found 1'),
        (ROUTE.replace("ship", "no task"), "routes[0].task: expected letters, digits, '-' and '_', found \"no task\""),
        (ROUTE.replace("orders.*", "orders..x"), "routes[0].subject: expected a subject like"),
        (ROUTE + "priority = 10", "routes[0].priority: expected a priority from 0 (first) to 9 (last), found 10"),
        (ROUTE + 'delay = "soon"', "routes[0].delay: expected seconds or a duration"),
        (
            '[projects.default]\nsources = ["hf.default.>"]',
            "projects.default.sources: expected a subject that takes in none",
        ),
        (
            '[projects.default]\nsources = ["*.default"]',
            "projects.default.sources: expected a subject that takes in none",
        ),
        ('[projects.default]\nsources = [">"]', "projects.default.sources: expected a NATS subject"),
        ('[projects.default]\nsources = ["$JS.x"]', "projects.default.sources: expected a NATS subject"),
        ('[projects.default]\nsources = ["a b"]', "projects.default.sources: expected a NATS subject"),
        ('[projects.default]\nsources = "a.b"', "projects.default.sources: expected a list of NATS subjects"),
    ],
)
def test_a_route_that_cannot_be_is_refused_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    assert complaint(tmp_path, text).startswith(said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ROUTE + 'project = "shop"', 'routes[0].project: expected one of default, found "shop"'),
        (
            ROUTE + ROUTE,
            'routes[1]: expected another name than that of routes[0], found "orders.*:ship": give one of them a name',
        ),
        (ROUTE + 'name = "a"\n' + ROUTE + 'name = "a"', "routes[1]: expected another name than that of routes[0]"),
        (
            '[projects.default]\nsources = ["a.*.c", "a.b.*"]',
            'sources of project default: expected subjects that do not overlap, found "a.*.c" and "a.b.*"',
        ),
    ],
)
def test_routes_must_fit_together(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_text(tmp_path, text).check()
    assert said in str(caught.value)


def test_a_source_that_another_one_takes_in_is_stored_with_that_one(tmp_path: Path) -> None:
    text = '[projects.default]\nsources = ["shop.>", "bank.paid", "shop.>"]\n'
    text += '[[routes]]\nsource = "shop.orders.*"\ntask = "a"'

    assert from_text(tmp_path, text).sources_of("default") == ("shop.>", "bank.paid")


def test_two_projects_may_have_routes_of_one_name(tmp_path: Path) -> None:
    config = from_text(tmp_path, "[projects.shop]\n" + ROUTE + ROUTE + 'project = "shop"\n')

    assert (
        [route.task for route in config.routes_of("shop")] == ["ship"] == [r.task for r in config.routes_of("default")]
    )


def test_a_route_without_a_project_is_the_default_ones(tmp_path: Path) -> None:
    config = from_text(tmp_path, ROUTE, HOLDFAST_PROJECT="shop")

    assert (len(config.routes_of("shop")), len(config.routes_of("default"))) == (1, 0)
