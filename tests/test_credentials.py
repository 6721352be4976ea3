"""Secrets are found by names and forms, and what only looks like one is not."""

import pickle
import string
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from selfreward_ray.credentials import find_secret, is_secret, masked, secrets_in
from selfreward_ray.errors import Final, UserError
from selfreward_ray.inference.engine_arguments import engine_arguments
from selfreward_ray.recipe import deepspeed
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.recipe.shipped import shipped_names
from selfreward_ray.recipe.text import RecipeError, flatten, load_recipe, overridden, parse_recipe
from selfreward_ray.store.folder import Folder

HIDDEN = "geheim7"
"""Stands in every secret of these tests."""

URIS = [
    "s3://AKIAX:geheim7@bucket/run",
    "s3://AKIAX:geheim7/with/slash+signs@bucket/run",
    "s3://AKIAX:1geheim7@bucket",
    "s3://AKIAX:12/geheim7@bucket",
    "S3://AKIAX:geheim7@bucket/run",
    "s3://AKIAX:gehe'im7 geheim7@bucket/run",
    "s3://geheim7@bucket/run",
    "s3://AKIAX:geheim7",
    "s3://bucket/run?secret_key=geheim7&region=eu-central-1",
    "s3://bucket/run?access_key=geheim7",
    "s3://bucket/run?region=eu-central-1&session_token=geheim7",
    "s3://bucket/run?endpoint_override=https://me:geheim7@host",
    "s3://bucket/run?endpoint_override=https%3A%2F%2Fme%3Ageheim7%40host",
    "gs://me:geheim7@bucket/run",
    "abfss://account:geheim7@account.dfs.core.windows.net/run",
    "abfss://container@account.dfs.core.windows.net/run?sv=2024-11-04&sig=geheim7%3D",
    "abfss://container@account.dfs.core.windows.net/run?sas_token=geheim7",
    "abfss://container@account.dfs.core.windows.net/run?client_secret=geheim7",
    "https://geheim7@host/v1#model",
    "https://me:geheim7@host/v1#model",
    "https://me:geheim7/x@host/v1#model",
    "https://host/v1?api_key=geheim7#model",
    "https://host/x.jsonl?X-Amz-Credential=a&X-Amz-Signature=geheim7",
    "https://host/x.jsonl?key=geheim7",
    "http://me:geheim7@proxy:3128",
    "hdfs://me:geheim7@namenode:8020/run",
    "postgresql://me:geheim7@host/mlflow",
]
PLAIN_URIS = [
    "s3://bucket/run",
    "s3://bucket/user@host/run:1",
    "s3://bucket?region=eu-central-1&scheme=http&endpoint_override=localhost:9000",
    "s3://bucket/run?endpoint_override=http%3A%2F%2Flocalhost%3A9000&allow_bucket_creation=true",
    "gs://anonymous@bucket/run",
    "abfss://container@account.dfs.core.windows.net/run",
    "hdfs://me@namenode:8020/user/run",
    "https://api.openai.com/v1#gpt-4.1",
    "http://127.0.0.1:8000/v1#Model",
    "http://[::1]:8000/v1#Model",
    "http://localhost:5000",
    "https://host/x.jsonl?download=true",
    "file:///shared/a:b@c",
    "/data/a:b@c",
    "owner/name",
]
FORMS = [
    "hf_" + (string.ascii_letters + "0123456789")[-34:],
    "hf_" + string.ascii_letters[:34],
    "sk-proj-" + "aB3" * 12,
    "ghp_" + "aB3" * 12,
    "github_pat_" + "aB3" * 12,
    "AKIA" + "ABCDEFGH23456789",
    "AIza" + "aB3_-" * 7,
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0abc.abc-_",
    "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----",
    "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=aB3/aB3==",
]

HEADERS = [
    "Authorization: Bearer geheim7",
    "authorization: geheim7",
    "Proxy-Authorization: Basic geheim7",
    "X-API-Key: geheim7",
    "X-Auth-Token:geheim7",
    "api-key: geheim7",
    "Ocp-Apim-Access-Key: geheim7",
    "Cookie: a=b; session=geheim7",
]

SECRET_NAMES = [
    "DB_PASS", "PGPASSWORD", "CLIENTSECRET",
    "hf_token", "HF_TOKEN", "hfToken", "HUGGING_FACE_HUB_TOKEN", "token_for_hub_token", "VLLM_API_KEY", "api_key",
    "apikey", "API_KEY", "OPENAI_KEY", "AWS_SECRET_ACCESS_KEY", "aws_secret_access_key", "AWS_SESSION_TOKEN",
    "secret_access_key", "s3_secret_access_key", "access_key", "AZURE_STORAGE_KEY", "AZURE_CLIENT_SECRET",
    "DB_PASSWORD", "password", "DB_PWD", "WANDB_API_KEY", "RAY_AUTH_TOKEN", "MYCOMPANY_TOKEN",
    "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "client_secret", "authorization", "GITHUB_TOKEN",
    "HF_TOKEN_2", "AZURE_STORAGE_SAS", "secretKey", "accessToken", "privateKey",
]  # fmt: skip
"""Names of secrets where the value is a text."""
PLAIN_SETTINGS = {
    "TOKENIZERS_PARALLELISM": "false", "MAX_TOKENS": "4096", "HF_TOKEN_PATH": "/etc/hf", "KEY_LENGTH": "12",
    "AWS_REGION": "eu-central-1", "AWS_DEFAULT_REGION": "eu-central-1", "AWS_PROFILE": "training",
    "AWS_ENDPOINT_URL": "http://localhost:9000", "AWS_SHARED_CREDENTIALS_FILE": "/etc/aws",
    "AWS_WEB_IDENTITY_TOKEN_FILE": "/var/token", "GOOGLE_APPLICATION_CREDENTIALS": "/etc/google/key.json",
    "NCCL_DEBUG": "INFO", "NCCL_SOCKET_IFNAME": "eth0", "NCCL_IB_GID_INDEX": "3", "NCCL_CROSS_NIC": "0",
    "VLLM_ATTENTION_BACKEND": "FLASH_ATTN", "VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_USE_FASTOKENS": "1",
    "VLLM_MAX_TOKENS_PER_EXPERT_FP4_MOE": "163840", "VLLM_SHARED_EXPERTS_STREAM_TOKEN_THRESHOLD": "256",
    "VLLM_CACHE_ROOT": "/cache", "VLLM_KEY_VALUE_CACHE": "auto", "HF_HOME": "/cache/hf", "HF_HUB_OFFLINE": "1",
    "HF_ENDPOINT": "https://hub.local", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1", "CUDA_VISIBLE_DEVICES": "0,1",
    "OMP_NUM_THREADS": "8", "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True", "LD_LIBRARY_PATH": "/usr/lib",
    "RAY_AUTH_MODE": "token", "SSH_AUTH_SOCK": "/tmp/ssh-x/agent.1", "XDG_SESSION_ID": "4", "PWD": "/home/me",
    "OLDPWD": "/home/me", "PASSWORD_FILE": "/run/x", "SECRETS_DIR": "/run/secrets", "SSL_CERT_FILE": "/etc/ca.pem",
    "REQUESTS_CA_BUNDLE": "/etc/ca.pem", "HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "localhost,10.0.0.0/8",
    "KEYBOARD": "us", "MONKEY": "a", "TURKEY_SIZE": "b", "SORT_KEY": "text", "PARTITION_KEY": "topic",
    "eos_token": "</s>", "pad_token": "PAD", "image_token": "IMG", "user_token": "<|user|>", "key": "prompt",
    "token": "auto", "api_key_env": "OPENAI_API_KEY", "secret_name": "hub", "ssl_keyfile": "/etc/key.pem",
    "ssl_key": "/etc/key.pem", "public_key": "ssh-ed25519 AAAA",
    "per_token": "yes", "hf_token_path": "/etc/hf", "cache_key": "v1",
    "KRB_SECRET": "/var/run/secrets/kerberos", "SSH_PRIVATE_KEY": "~/.ssh/id_ed25519",
    "MAX_PASSES": "3", "COMPASS": "north", "LDAP_AUTH": "simple", "AUTH": "https://auth.local/v1", "SUBTOKEN": "a-b",
    "MONKEYTOKEN": "short1", "MONKEY_COLUMN_KEY": "data:key1", "TURKEY": "a:b", "HOTKEY": "ctrl-alt-delete-or-so",
}  # fmt: skip


@pytest.mark.parametrize("uri", URIS)
def test_a_uri_with_a_secret_is_refused_everywhere_and_shown_without_it(uri: str):
    for give in (
        lambda: Folder(uri),
        lambda: parse_recipe({"model": uri}),
        lambda: parse_recipe({"model": "m0", "seed_data": {"source": uri}}),
        lambda: parse_recipe({"model": "m0", "evaluation": {"judge": uri}}),
        lambda: parse_recipe({"model": "m0", "inference": {"engine": {"kv": [{"store": uri}]}}}),
        lambda: parse_recipe({"model": "m0", "inference": uri}),
        lambda: parse_recipe({"model": "m0", "no_such_field": uri}),
        lambda: overridden(Recipe(model="m0"), [f"prompts.source='{uri}'" if "'" not in uri else f"name={uri}"]),
    ):
        with pytest.raises(UserError, match="holds a secret, which would stand in the run's files; set ") as raised:
            give()
        assert HIDDEN not in str(raised.value)
        assert uri.partition("://")[0] in str(raised.value)


@pytest.mark.parametrize("uri", [uri for uri in URIS if "'" not in uri])
def test_a_uri_in_a_message_is_masked(uri: str):
    for text in (f"When listing objects: cannot reach '{uri}': no answer", f"Cannot connect to {uri}, (ssl)", uri):
        assert HIDDEN not in masked(text, {})
        assert uri.partition("://")[0] in masked(text, {})
        assert masked(masked(text, {}), {}) == masked(text, {})
    assert HIDDEN not in str(UserError(f"cannot open {uri!r}"))


@pytest.mark.parametrize("uri", PLAIN_URIS)
def test_a_uri_without_a_secret_stays_as_it_is(uri: str):
    assert find_secret(uri) is None
    assert masked(f"cannot open {uri!r}: no answer", {}) == f"cannot open {uri!r}: no answer"
    assert parse_recipe({"model": uri}).model == uri
    assert Folder(uri).uri == uri


@pytest.mark.parametrize("text", FORMS)
def test_tokens_are_known_by_their_forms(text: str):
    found = find_secret(text)
    assert found is not None
    assert text not in f"{found} {masked(f'the server said {text}', {})}"
    with pytest.raises(RecipeError, match="recipe field 'inference.env.OTHER'"):
        parse_recipe({"model": "m0", "inference": {"env": {"OTHER": text}}})


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_a_text_under_a_secrets_name_is_refused_wherever_it_stands(name: str):
    for place, values in {
        f"inference.env.{name}": {"inference": {"env": {name: HIDDEN}}},
        f"inference.engine.{name}": {"inference": {"engine": {name: HIDDEN}}},
        f"inference.engine.loader.0.{name}": {"inference": {"engine": {"loader": [{name: HIDDEN}]}}},
        f"training.deepspeed.{name}": {"training": {"deepspeed": {name: HIDDEN}}},
        f"tracking.{name}.0": {"tracking": {name: [HIDDEN]}},
        name: {name: HIDDEN},
    }.items():
        with pytest.raises(RecipeError) as raised:
            parse_recipe({"model": "m0"} | values)
        assert str(raised.value).startswith(f"recipe field {place!r}: {name}=… holds a secret")
        assert HIDDEN not in str(raised.value)
    with pytest.raises(RecipeError) as raised:
        overridden(Recipe(model="m0"), [f"inference.engine.{name}={HIDDEN}"])
    assert HIDDEN not in str(raised.value)
    assert HIDDEN not in masked(
        f"non-default args: {{'{name}': '{HIDDEN}', {name}={HIDDEN}, \"{name}\": \"{HIDDEN}\"", {}
    )


@pytest.mark.parametrize("header", HEADERS)
def test_headers_in_one_text_are_known(header: str):
    with pytest.raises(RecipeError, match="holds a secret") as raised:
        parse_recipe({"model": "m0", "inference": {"engine": {"headers": [header]}}})
    assert HIDDEN not in str(raised.value)
    assert HIDDEN not in masked(f"the server got {{'{header}'}} and closed", {})


@pytest.mark.parametrize("option", ["--api-key", "--hf-token", "-password"])
def test_the_value_of_an_option_in_a_list_is_known(option: str):
    with pytest.raises(RecipeError, match=r"recipe field 'inference.engine.args.2'") as raised:
        parse_recipe({"model": "m0", "inference": {"engine": {"args": ["serve", option, HIDDEN, "--x", "y"]}}})
    assert HIDDEN not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BASIC_AUTH", "me:geheim7"),
        ("auth", "me:geheim7"),
        ("HFTOKEN", "geheim7abcdefghij"),
        ("OPENAIKEY", "geheim7abcdefghij"),
        ("SESSION_COOKIE", "geheim7abcdefghij"),
    ],
)
def test_under_other_names_a_secret_is_known_by_its_look(name: str, value: str):
    with pytest.raises(RecipeError, match="holds a secret") as raised:
        parse_recipe({"model": "m0", "inference": {"env": {name: value}}})
    assert HIDDEN not in str(raised.value)


def test_the_remedy_names_the_variable_that_takes_it():
    for values, remedy in (
        (
            {"inference": {"engine": {"hf_token": "a"}}},
            "set HF_TOKEN in the environment of the driver and of the nodes",
        ),
        ({"inference": {"env": {"DB_PASSWORD": "a"}}}, "set DB_PASSWORD in the environment"),
        ({"model": "s3://a:b@c/d"}, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment"),
        ({"endpoint": {"api_key": "a"}}, "the environment variable that endpoint.api_key_env names"),
        ({"evaluation": {"judge": "https://a:b@c/v1#d"}}, "the environment variable that endpoint.api_key_env names"),
    ):
        with pytest.raises(RecipeError, match=remedy):
            parse_recipe({"model": "m0"} | values)


def test_all_secrets_of_a_recipe_are_named_at_once():
    with pytest.raises(RecipeError) as raised:
        parse_recipe({"model": "s3://a:b@c", "inference": {"engine": {"hf_token": "x"}, "env": {"A_SECRET": "y"}}})
    assert len(str(raised.value).splitlines()) == 3


@pytest.mark.parametrize(("name", "value"), PLAIN_SETTINGS.items())
def test_settings_that_only_sound_like_secrets_are_taken(name: str, value: str):
    assert parse_recipe({"model": "m0", "inference": {"env": {name: value}, "engine": {name: value}}})
    assert masked(f"{name}={value}", {name: value}) == f"{name}={value}"


def test_no_setting_of_the_engine_or_of_deepspeed_sounds_like_a_secret_but_the_hubs_token():
    settings = {name.rpartition(".")[2] for name in (*deepspeed.PASSED, *deepspeed.REFUSED)}
    for value in ("auto", "slow", "a-name", "/a/path", "owner/name"):
        assert [name for name in engine_arguments() | settings if is_secret(name, value)] == ["hf_token"] * (
            value != "auto"
        )
    for switch in (True, None, 5):  # vLLM then takes the token of the environment
        assert not any(is_secret(name, switch) for name in engine_arguments() | settings)


def test_no_field_of_the_recipe_sounds_like_a_secret():
    fields = flatten(Recipe(model="").model_dump(mode="json"))
    assert [name for name in fields if is_secret(name.rpartition(".")[2], "a-name")] == []
    for name in shipped_names():
        assert load_recipe(name)


def test_what_is_in_the_environment_is_masked_in_messages(monkeypatch: pytest.MonkeyPatch):
    environment = {
        "HF_TOKEN": "any-form-of-it",
        "HTTPS_PROXY": "http://me:p%40ssgeheim@proxy:3128",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "HOME": "/home/someone",
    }
    said = "any-form-of-it, /home/someone, nothing; p%40ssgeheim or p@ssgeheim"
    assert masked(said, environment) == "…, /home/someone, nothing; … or …"
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert str(UserError(said)) == "…, /home/someone, nothing; … or …"


@pytest.mark.parametrize("kind", [UserError, Final, RecipeError])
def test_an_error_is_masked_in_another_process_too(kind: type[UserError]):
    error = pickle.loads(pickle.dumps(kind("no answer of s3://a:geheim7@b")))  # noqa: S301 - ours
    assert type(error) is kind
    assert str(error) == "no answer of s3://…@b"
    assert str(kind()) == ""


@pytest.mark.parametrize(
    "text",
    [
        "override 'x' is not of the form key=value, for example dpo.beta=0.2",
        "the environment variable OPENAI_API_KEY (endpoint.api_key_env) has characters that no key has; set it again",
        "W&B does not start: see WANDB_API_KEY, WANDB_BASE_URL and WANDB_MODE",
        "write abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH",
        "eos_token_id 7, the ordinary token 'the', at which vLLM would cut replies",
        "a key stands twice: seed_data.columns.key: a",
        "name the token that ends a reply as eos_token: </s>",
        "https://HOST/v1#MODEL",
    ],
)
def test_ordinary_messages_are_not_changed(text: str):
    assert masked(text, {}) == text


@pytest.mark.parametrize(
    "piece", ["a.", "a-", "ab", "a:", "s3://", "s3://a:", "x='", "'a", "sk-", "eyJa.", "a=b", "/", "a@b:", "?a=b&"]
)
def test_long_messages_are_masked_in_a_moment(piece: str):
    begin = time.process_time()
    masked(piece * 20_000, {})
    assert time.process_time() - begin < 2


def test_values_are_walked_to_any_depth():
    values: Mapping[str, Any] = {"a": [{"b": ({"password": "x"},)}, "fine"], "c": {"d": "s3://u:p@b"}}
    assert [place for place, _ in secrets_in(values)] == [("a", 0, "b", 0, "password"), ("c", "d")]


def test_parts_that_yaml_names_again_are_walked_once(tmp_path: Path):
    (tmp_path / "recipe.yaml").write_text(
        "model: m0\ninference: {engine: &a {x: *a, y: &b [*a, *b], z: &c [*b, *b], u: [*c, *c], hf_token: x}}\n"
    )
    with pytest.raises(RecipeError, match=r"^recipe field 'inference.engine.hf_token': hf_token=… holds a secret.*$"):
        load_recipe(tmp_path / "recipe.yaml")
