"""config.yaml: what is read, and every wrong key with what was perhaps meant."""

from pathlib import Path

import pytest

from errors import SettingsError
from roles import CONFIG, NAMES, load_roles

DATA = Path(".data")


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "roles.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_our_own_file_names_every_role() -> None:
    roles = load_roles()
    assert tuple(roles.known) == NAMES
    assert roles.get("philosopher").spec(DATA) == "gguf:.data/models/bergson-and-friends-demo.gguf"
    assert roles.get("philosopher").page_model is None
    assert roles.get("ba").spec(DATA) == "ollama:mistral:7b-instruct"
    assert (roles.get("ba").temperature, roles.get("ba").max_tokens) == (0.7, 2048)
    assert CONFIG.is_file()


@pytest.mark.parametrize(
    ("role", "spec", "page"),
    [
        ("{provider: gguf, model: m.gguf}", "gguf:m.gguf", "m.gguf"),
        ("{provider: ollama, model: 'mistral:7b'}", "ollama:mistral:7b", "ollama:mistral:7b"),
        ("{provider: openai, model: 'http://h/v1#m'}", "openai:http://h/v1#m", "openai:http://h/v1#m"),
        ("", "gguf:.data/models/bergson-and-friends-demo.gguf", None),
    ],
)
def test_providers(tmp_path: Path, role: str, spec: str, page: str | None) -> None:
    found = load_roles(written(tmp_path, f"roles:\n  philosopher: {role}\n")).get("philosopher")
    assert (found.spec(DATA), found.page_model) == (spec, page)


def test_a_checkpoint_is_for_commands_and_not_for_the_page(tmp_path: Path) -> None:
    text = "roles:\n  philosopher: {provider: huggingface_local, model: base+adapter, temperature: 0, max_tokens: 9}\n"
    found = load_roles(written(tmp_path, text)).get("philosopher")
    assert found.spec(DATA) == "hf:base+adapter"
    with pytest.raises(SettingsError, match="Convert it"):
        _ = found.page_model


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("role: {}", "expected `roles:`"),
        ("[]", "expected `roles:`"),
        ("", "expected `roles:`"),
        ("roles: {philosofer: {}}", "'philosofer'. Did you mean 'philosopher'"),
        ("roles: {ba: {temprature: 1}}", "'temprature'. Did you mean 'temperature'"),
        ("roles: {ba: {provider: olama, model: a}}", "'olama'. Did you mean 'ollama'"),
        ("roles: {ba: {provider: [a]}}", "provider is"),
        ("roles: {ba: {provider: ollama}}", "every other provider needs one"),
        ("roles: {ba: {model: a}}", "embedded takes no `model`"),
        ("roles: {ba: {provider: gguf, model: 3}}", "expected a name"),
        ("roles: {ba: {temperature: 2.1}}", "expected 0 to 2"),
        ("roles: {ba: {temperature: true}}", "expected 0 to 2"),
        ("roles: {ba: {temperature: .nan}}", "expected 0 to 2"),
        ("roles: {ba: {max_tokens: 0}}", "expected 1 to 32768"),
        ("roles: {ba: {max_tokens: 1.5}}", "expected a whole number"),
        ("roles: {ba: 3}", "roles.ba is 3"),
        ("roles: {ba: {}, ba: {}}", "'ba' stands twice"),
        ("roles: {ba: {}}\nextra: 1", "no key 'extra'"),
        ("roles: {1: {}}", "no key 1"),
        ("roles: [", "is no YAML"),
        ("roles: !!python/object:os.system {}", "is no YAML"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said.replace("[", r"\[")):
        load_roles(written(tmp_path, text))


def test_a_file_that_is_not_there_and_a_role_that_nobody_has(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="BAF_CONFIG"):
        load_roles(tmp_path / "none.yaml")
    with pytest.raises(SettingsError, match="Did you mean 'writer'"):
        load_roles().get("writter")
