"""Secrets: forges, registries, builds, and vendors of models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from extproc.redaction.packs._tokens import DASHED, HEX, SHORT, assigned, key, open_token

if TYPE_CHECKING:
    from extproc.redaction.rules import Rule

FORGES: Final[tuple[Rule, ...]] = (
    open_token(
        "github-token",
        "GITHUB_TOKEN",
        rf"gh[pousr]_{SHORT}{{20,}}|github_pat_\w{{22,}}",
        example=key("gh", "p_", tail=36),
    ),
    open_token(
        "gitlab-token",
        "GITLAB_TOKEN",
        rf"gl(?:pat|dt|rt|cbt|ptt|soat|ft|imt|agent|oas|ffct)-{DASHED}{{20,}}(?:\.{DASHED}+)*|GR1348941{DASHED}{{20,}}",
        example=key("gl", "pat-", tail=20),
    ),
    open_token(
        "atlassian-token",
        "ATLASSIAN_TOKEN",
        r"AT(?:ATT|CTT|BB)3?[A-Za-z0-9_\-=]{24,}",
        example=key("ATA", "TT3", tail=186),
    ),
    *assigned(
        "bitbucket-secret",
        "BITBUCKET_SECRET",
        "bitbucket",
        r"[A-Za-z0-9=_\-]{32,}",
        clear=rf"{DASHED}[A-Za-z0-9=_\-]{{31,}}",
        says="bitbucket_client_secret",
        example=key(tail=64),
    ),
    open_token("npm-token", "NPM_TOKEN", rf"npm_{SHORT}{{36,}}", example=key("np", "m_", tail=36)),
    open_token(
        "pypi-token", "PYPI_TOKEN", rf"pypi-AgE{DASHED}{{30,}}", example=key("py", "pi-AgE", tail=50)
    ),
    open_token(
        "rubygems-token",
        "RUBYGEMS_TOKEN",
        r"rubygems_[a-f0-9]{48,}",
        example=key("ruby", "gems_", tail=48, alphabet=HEX),
    ),
    open_token(
        "docker-token",
        "DOCKER_TOKEN",
        rf"dckr_(?:pat|oat)_{DASHED}{{20,}}",
        example=key("dck", "r_pat_", tail=27),
    ),
    open_token(
        "artifactory-token",
        "ARTIFACTORY_TOKEN",
        rf"(?:AKCp|cmVmd){SHORT}{{50,}}",
        example=key("AK", "Cp", tail=69),
    ),
    open_token(
        "clojars-token",
        "CLOJARS_TOKEN",
        r"CLOJARS_[a-z0-9]{60,}",
        example=key("CLO", "JARS_", tail=60, alphabet=HEX),
    ),
    open_token(
        "postman-key",
        "POSTMAN_KEY",
        r"PMAK-[a-f0-9]{24}-[a-f0-9]{30,}",
        example=key("PM", "AK-", HEX[:24], "-", tail=34, alphabet=HEX),
    ),
    open_token(
        "sonar-token",
        "SONAR_TOKEN",
        r"sq[upa]_[a-z0-9]{40,}",
        example=key("sq", "p_", tail=40, alphabet=HEX),
    ),
    open_token(
        "linear-key",
        "LINEAR_KEY",
        rf"lin_(?:api|oauth)_{SHORT}{{32,}}",
        example=key("lin", "_api_", tail=40),
    ),
    open_token(
        "notion-token",
        "NOTION_TOKEN",
        rf"ntn_\d{{11}}{SHORT}{{30,}}",
        example=key("nt", "n_", "12345678901", tail=35),
    ),
    open_token(
        "airtable-token",
        "AIRTABLE_TOKEN",
        rf"pat{SHORT}{{14}}\.[a-f0-9]{{60,}}",
        example=key("pa", "t", "ABCDEFGHIJKLMN.", tail=64, alphabet=HEX),
    ),
    open_token(
        "figma-token", "FIGMA_TOKEN", rf"fig[dour]_{DASHED}{{30,}}", example=key("fi", "gd_", tail=40)
    ),
    *assigned(
        "snyk-token",
        "SNYK_TOKEN",
        "snyk",
        "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        says="SNYK_TOKEN",
        example="550e8400-e29b-41d4-a716-446655440000",
    ),
)

MODELS: Final[tuple[Rule, ...]] = (
    open_token(
        "anthropic-key",
        "ANTHROPIC_API_KEY",
        rf"sk-ant-{DASHED}{{20,}}",
        example=key("sk", "-ant-api03-", tail=80),
    ),
    # OpenAI's old ones have a prefix that others share; a vendor's own word before it is that vendor's.
    open_token(
        "openai-key",
        "OPENAI_API_KEY",
        rf"sk-(?:(?:proj|svcacct|admin|or-v1|None)-{DASHED}{{20,}}|{SHORT}{{20,}}{DASHED}*)",
        example=key("sk", "-proj-", tail=60),
    ),
    open_token(
        "huggingface-token",
        "HUGGINGFACE_TOKEN",
        rf"(?:hf|api_org)_{SHORT}{{30,}}",
        example=key("h", "f_", tail=34),
    ),
    open_token("groq-key", "GROQ_API_KEY", rf"gsk_{SHORT}{{40,}}", example=key("gs", "k_", tail=52)),
    open_token(
        "perplexity-key", "PERPLEXITY_API_KEY", rf"pplx-{SHORT}{{40,}}", example=key("pp", "lx-", tail=48)
    ),
    open_token(
        "replicate-token", "REPLICATE_TOKEN", rf"r8_{SHORT}{{37,}}", example=key("r", "8_", tail=37)
    ),
    open_token("xai-key", "XAI_API_KEY", rf"xai-{SHORT}{{60,}}", example=key("xa", "i-", tail=80)),
    open_token(
        "nvidia-key", "NVIDIA_API_KEY", rf"nvapi-{DASHED}{{50,}}", example=key("nv", "api-", tail=64)
    ),
    open_token(
        "langsmith-key",
        "LANGSMITH_KEY",
        r"lsv2_(?:pt|sk)_[a-f0-9]{32,}(?:_[a-f0-9]+)*",
        example=key("lsv", "2_pt_", tail=32, alphabet=HEX),
    ),
    *assigned(
        "cohere-key",
        "COHERE_API_KEY",
        "cohere|co_api_key",
        rf"{SHORT}{{40,}}",
        says="COHERE_API_KEY",
        example=key(tail=40),
    ),
    *assigned(
        "mistral-key",
        "MISTRAL_API_KEY",
        "mistral",
        rf"{SHORT}{{32,}}",
        says="MISTRAL_API_KEY",
        example=key(tail=32),
    ),
)

RULES: Final[tuple[Rule, ...]] = (*FORGES, *MODELS)
