"""mask: what is taken out, between all neighbours, and what stays."""

import random
import string
from collections.abc import Callable
from typing import SupportsIndex

import pytest

from app.masking.check_digits import is_account, is_credit_code, is_resident_identity, passes_luhn
from app.masking.mask import mask

Make = Callable[[random.Random], str]


def digits(chooser: random.Random, count: int) -> str:
    return "".join(chooser.choices(string.digits, k=count))


def completed(make: Make, holds: Callable[[str], bool]) -> Make:
    """Values for which the check holds, found by trying."""

    def found(chooser: random.Random) -> str:
        while not holds(value := make(chooser)):
            pass
        return value

    return found


def grouped(text: str, separator: str) -> str:
    return separator.join(text[start : start + 4] for start in range(0, len(text), 4))


def mobile(chooser: random.Random) -> str:
    number = "1" + chooser.choice("3456789") + digits(chooser, 9)
    separator = chooser.choice(["", " ", "-"])
    number = separator.join((number[:3], number[3:7], number[7:]))
    return chooser.choice(["", "+86 ", "+86", "86-", "0086 "]) + number


def landline(chooser: random.Random) -> str:
    area = chooser.choice(["010", "021", "0755", "0571"])
    number = chooser.choice("2345678") + digits(chooser, 7)
    return chooser.choice(
        [f"{area}-{number}", f"({area}) {number}", f"{area} {number}", f"{area}-{number}-801"]
    )


def foreign(chooser: random.Random) -> str:
    return chooser.choice(
        [
            f"+44 20 7946 {digits(chooser, 4)}",
            f"+1 (415) 555-{digits(chooser, 4)}",
            f"0049 30 {digits(chooser, 7)}",
            f"(415) 555-{digits(chooser, 4)}",
            f"415-555-{digits(chooser, 4)}",
        ]
    )


def identity(chooser: random.Random) -> str:
    born = f"{chooser.randint(1930, 2015)}{chooser.randint(1, 12):02}{chooser.randint(1, 28):02}"
    return f"{chooser.randint(110000, 659999)}{born}{digits(chooser, 3)}{chooser.choice('0123456789Xx')}"


def card(chooser: random.Random) -> str:
    beginning, length = chooser.choice(
        [("4", 13), ("4", 16), ("51", 16), ("2720", 16), ("34", 15), ("36", 14), ("3530", 16)]
        + [("622", length) for length in (16, 17, 18, 19)]
        + [("6011", 16), ("955880", 19), ("6759", 13), ("2200", 16)]
    )
    return beginning + digits(chooser, length - len(beginning))


def credit_code(chooser: random.Random) -> str:
    letters = "0123456789ABCDEFGHJKLMNPQRTUWXY"
    return f"91{chooser.choice('123456')}" + digits(chooser, 5) + "".join(chooser.choices(letters, k=10))


def account(chooser: random.Random) -> str:
    return "DE" + digits(chooser, 20)


def email(chooser: random.Random) -> str:
    name = "".join(chooser.choices(string.ascii_lowercase + ".+_", k=9))
    return f"x{name}y@{chooser.choice(['example.com', 'mail.example.co.uk', 'b-c.cn'])}"


def token_of_three_parts(chooser: random.Random) -> str:
    return ".".join("eyJ" + "".join(chooser.choices(string.ascii_letters + "-_", k=20)) for _ in range(3))


def passport(chooser: random.Random) -> str:
    return chooser.choice(["E", "G", "EA", "EK"]).ljust(2, chooser.choice(string.digits)) + digits(chooser, 7)


def ip(chooser: random.Random) -> str:
    four = ".".join(str(chooser.randint(20, 120)) for _ in range(4))
    return chooser.choice([four, f"2400:cb00::{chooser.randint(1, 9999)}"])


MAKERS: dict[str, Make] = {
    "mobile": mobile,
    "landline": landline,
    "foreign": foreign,
    "identity": completed(identity, is_resident_identity),
    "card": completed(card, passes_luhn),
    "card in groups": lambda chooser: grouped(completed(card, passes_luhn)(chooser), " "),
    "credit code": completed(credit_code, is_credit_code),
    "account": completed(account, is_account),
    "account in groups": lambda chooser: grouped(completed(account, is_account)(chooser), " "),
    "email": email,
    "token of three parts": token_of_three_parts,
    "passport": passport,
    "ip": ip,
}
AROUND = [
    ("", ""),
    ("call me: ", " please"),
    ("我的号码是", "，谢谢"),
    ("号码", "号码"),
    ("(", ")"),
    ("“", "”。"),
    ("x=", ";"),
    ("ends with ", "."),
    ("a line\n", "\nanother"),
    ('{"v": "', '"}'),
]


@pytest.mark.parametrize("name", MAKERS)
def test_what_identifies_is_taken_out_between_all_neighbours(name: str) -> None:
    chooser = random.Random(name)
    for number in range(60):
        canary = MAKERS[name](chooser)
        before, after = AROUND[number % len(AROUND)]
        masked = mask(before + canary + after)
        assert masked.startswith(before) and masked.endswith(after), (canary, masked)
        left = masked[len(before) : len(masked) - len(after)]
        assert left.startswith("[") and left.endswith("]"), (canary, masked)
        assert not any(character.isdigit() for character in left), (canary, masked)


@pytest.mark.parametrize("prefix", ["sk-", "rp-", "ghp_", "github_pat_", "hf_", "AKIA", "AIza", "xoxb-"])
def test_keys_are_taken_out(prefix: str) -> None:
    assert mask(f"my key {prefix}abcdefghijKLMNOP123456!") == "my key [token]!"
    assert mask(f"task{prefix}abcdefghijKLMNOP123456") == f"task{prefix}abcdefghijKLMNOP123456"


@pytest.mark.parametrize(
    "key",
    [
        *(
            "ASIAQWERTYUIOPASDF23",
            "LTAIabcdefGH1234",
            "LTAI5tabcdefGH1234567890",
            "AKIDabcdefGH" + "1234567890" * 2,
        ),
        *(
            "npm_" + "aB3" * 12,
            f"SG.{'aB-3' * 5}x_.{'a_B3' * 10}xyz",
            "ya29.a0" + "aB3_-" * 20,
            "ya29.c." + "aB3_-" * 20,
        ),
        *(
            "xapp-1-A0B1C2D3E4F-1234567890123-" + "0af3" * 16,
            "dop_v1_" + "0af3" * 16,
            "doo_v1_" + "0af3" * 16,
        ),
    ],
)
def test_keys_that_others_make_are_taken_out_whole(key: str) -> None:
    assert mask(f"key={key}, and more") == "key=[token], and more"
    assert mask(f"密钥是{key}。") == "密钥是[token]。"
    assert mask(f"task{key}") == f"task{key}"


@pytest.mark.parametrize("mark", [*"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u061c\ufe0f"])
def test_marks_of_direction_and_variants_hide_nothing(mark: str) -> None:
    assert mask(f"{mark}138{mark}1234{mark}{mark}5678{mark} !") == f"{mark}[phone]{mark} !"
    assert mask(f"好{mark}的, 12 {mark}") == f"好{mark}的, 12 {mark}"


def test_an_address_with_chinese_characters_ends_with_its_domain_and_begins_behind_what_leads_to_it() -> None:
    assert mask("我的邮箱是张三@example.com，谢谢") == "我的邮箱是[email]，谢谢"
    assert mask("请发到li@例子.中国谢谢") == "请发到[email]谢谢"
    assert mask("发到li@example.com或者访问www.example.org") == "发到[email]或者访问www.example.org"
    assert mask("客服中心张三李四@example.com") == "客服中心[email]"


def test_an_ipv6_address_before_a_port_is_taken_out() -> None:
    assert mask("peer=[2606:4700::1111]:443, [::1]:80") == "peer=[[ip]]:443, [::1]:80"
    assert mask("https://[240e:e1:4909:e9cf:ffa8:aec5:ea3:877c]:443/") == "https://[[ip]]:443/"
    assert mask("240e:e1:4909:e9cf:ffa8:aec5:ea3:877c:443 timed out") == "[ip]:443 timed out"


def test_credentials_and_private_keys_are_taken_out() -> None:
    assert mask("Authorization: Bearer abcdefghijklmnop=") == "Authorization: Bearer [token]"
    assert mask("authorization: basic dXNlcjpwYXNzd29yZA==") == "authorization: basic [token]"
    masked = mask("-----BEGIN PRIVATE KEY-----\nMIIEvQIB\nAAA=\n-----END PRIVATE KEY-----")
    assert masked.startswith("[private key]") and "MII" not in masked


def test_other_writing_of_the_same_is_found() -> None:
    """Full-width digits, and characters of no width between them."""
    assert mask("手机１３８１２３４５６７８。") == "手机[phone]。"
    assert mask("138\u200b1234\u200b5678 !") == "[phone] !"
    assert mask("ａ＠ｅｘａｍｐｌｅ．ｃｏｍ") == "[email]"
    assert mask("138\u20111234\u20115678 (021)\u00a062345678") == "[phone] [phone]"
    assert mask("٠١٠-٦٢٣٤٥٦٧٨") == "[phone]"
    assert mask("地址：2400:cb00::5") == "地址：[ip]"


@pytest.mark.parametrize(
    "text",
    [
        *("11010519491231002X", "110105 19491231 002x", "110105-19491231-002X"),
        *("91350100M000100Y43", "91350100m000100y43"),
        *("de89370400440532013000", "DE89-3704-0044-0532-0130-00"),
        *("138.1234.5678", "010 6234 5678", "0731-82345678转801", "e12345678"),
        *("01062345678", "075582345678", "09918234567", "02182345678转12"),
        *("010.62345678", "010.6234.5678", "0755.8234.5678", "(021)6234.5678", "86.138.1234.5678"),
        *("110105491231002", "110105 491231 002", "110105-491231-002"),
        *("EA1234567", "PE1234567", "SE1234567", "DE1234567", "MA1234567", "pe1234567"),
        *("张三@example.com", "李小明@例子.公司", "zhang.三@example.com.cn", "王五.wang@example.org"),
        *("li四@mail.例子.网络", "li@例子.中国", "li@例子.com", "li@例子.xn--fiqs8s"),
    ],
)
def test_one_number_in_several_forms_is_found(text: str) -> None:
    masked = mask(f"是{text}，")
    assert masked.startswith("是[") and masked.endswith("]，"), masked


@pytest.mark.parametrize(
    "text",
    [
        "order 2024112512345678 costs 1234567890.50 USD",
        "订单20241125123456，金额￥12,345.00",
        "on 2026-11-25 at 12:30:45.123 within 3 to 5 days",
        "chatcmpl-4004e592414e120f92ffc414",
        "trace 4bf92f3577b34da6a3ce929d0e0e4736",
        "version 1.2.3.4.5, listening on 127.0.0.1:8000, [::1]:8000 and 10.1.2.3:80",
        "13812345678.50 and 0.13812345678 and 138123456789",
        "4111111111111112 fails its check, 110101199002300000 has no such day",
        "41111111111116 has no length of its issuer, DE00968025574564265638 no check digits that there are",
        "5584 0210 9513 9872, JD0011189807791, 1Z999AA13596024091",
        "std::vector a::b, ratio 16:9, 1:2:3",
        "sku RP-1234, model E5-2690, tracking 1Z999AA10123456784",
        "somebody@localhost, @name, a@b",
        "Bearer short",
        "使用@app.route('/')，装饰器@pytest.fixture，安装@types/node，感谢@小明。",
        "npm_config_registry_of_the_company_and_its_offices, xapp-thumbnailers-common-extra",
        "ASIA-PACIFIC_REGIONAL_OFFICE_HOURS, ASIAN, AKID-extension-is-missing, SG.x.y, ya29.short",
        "012345678901, 000062345678, 03600029145, 0.01062345678, 1.07558234567, X01062345678",
        "240518093015123 and 230101090515123 are times, 110105491331002 and 110105490230002 have no such day",
        "190105491231002, 110005491231002, 110105491231000, 0.110105491231002, 110105491231002.5",
        "PE123456, PE12345678, DE123456789, AE1234567, XPE1234567",
        "",
    ],
)
def test_numbers_of_orders_amounts_times_and_names_stay(text: str) -> None:
    assert mask(text) == text


def test_random_order_numbers_stay() -> None:
    """Numbers of 10, 12 and 20 digits, and those that begin with a year; none is a card or a phone."""
    chooser = random.Random(3)
    for _ in range(500):
        for number in ("9" + digits(chooser, 9), "7" + digits(chooser, 11), "2025" + digits(chooser, 12)):
            assert mask(f"order {number} please") == f"order {number} please"


def test_several_in_one_text() -> None:
    text = "a@example.com 或 13812345678，卡 4111 1111 1111 1111 12 件"
    assert mask(text) == "[email] 或 [phone]，卡 [card] 12 件"
    assert mask("12 4111 1111 1111 1111") == "12 [card]"


class Watched(str):
    """A text that counts the characters that are copied out of it, and of what is made of them by adding."""

    __slots__ = ()
    copied = 0

    def __getitem__(self, key: SupportsIndex | slice) -> "Watched":
        part = Watched(super().__getitem__(key))
        Watched.copied += len(part)
        return part

    def __add__(self, other: str) -> "Watched":
        return Watched(super().__add__(other))


@pytest.mark.parametrize("count", [10, 1_000])
def test_a_text_is_copied_as_often_however_much_is_found(count: int) -> None:
    Watched.copied = 0
    text = Watched("13812345678, " * count)
    assert mask(text) == "[phone], " * count
    assert Watched.copied <= 2 * len(text)
