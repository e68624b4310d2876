"""A second set for the masking: other sentences, other ways to write the same kinds, other near misses.

Written apart from the first and held back until the patterns had been made better by that one. They then found 77 % of
its values; the forms that it taught (identities in groups, letters in lower case, dots in a phone) are found since, and
so it is held back no more.
"""

import random
from collections.abc import Callable, Iterator

from loadtests.reliability import identifiers as made
from loadtests.reliability.identifiers import digits, in_groups, letters
from loadtests.reliability.masking_set import Sample

Make = Callable[[random.Random], str]


def _of(*makers: Make) -> Make:
    return lambda chooser: chooser.choice(makers)(chooser)


VALUES: dict[str, Make] = {
    "mobile phone": _of(
        made.mobile,
        lambda chooser: "(+86)" + made.mobile(chooser),
        lambda chooser: "+86-" + in_groups(made.mobile(chooser), (3, 4), "-"),
        lambda chooser: "+86 " + in_groups(made.mobile(chooser), (3, 4), " "),
        lambda chooser: in_groups(made.mobile(chooser), (3, 4), "."),
        lambda chooser: "86" + made.mobile(chooser),
    ),
    "landline": _of(
        lambda chooser: (
            f"0{chooser.choice(('10', '20', '29'))} {in_groups('8' + digits(chooser, 7), (4,), ' ')}"
        ),
        lambda chooser: f"0755-{in_groups('2' + digits(chooser, 7), (4,), '-')}",
        lambda chooser: f"（021）6{digits(chooser, 7)}",
        lambda chooser: f"+86-10-8{digits(chooser, 7)}",
        lambda chooser: f"0731-8{digits(chooser, 7)}转{digits(chooser, 3)}",
        lambda chooser: f"0731.8{digits(chooser, 3)}.{digits(chooser, 4)}",
        lambda chooser: f"010.6{digits(chooser, 7)}",
        lambda chooser: f"(0755)8{digits(chooser, 3)}.{digits(chooser, 4)}",
        made.joined_landline,
    ),
    "foreign phone": _of(
        lambda chooser: f"+33 1 {in_groups(digits(chooser, 8), (2, 2, 2), ' ')}",
        lambda chooser: f"+1.650.555.{digits(chooser, 4)}",
        lambda chooser: f"001-650-555-{digits(chooser, 4)}",
        lambda chooser: f"650.555.{digits(chooser, 4)}",
        lambda chooser: f"+852 {in_groups('9' + digits(chooser, 7), (4,), ' ')}",
        lambda chooser: f"+49 (0)30 {digits(chooser, 7)}",
    ),
    "resident identity": _of(
        made.identity,
        lambda chooser: made.identity(chooser).lower(),
        lambda chooser: in_groups(made.identity(chooser), (6, 8), " "),
        lambda chooser: in_groups(made.identity(chooser), (6, 8), "-"),
        made.first_identity,
        lambda chooser: in_groups(made.first_identity(chooser), (6, 6), " "),
    ),
    "payment card": _of(
        made.card,
        lambda chooser: in_groups(made.card(chooser), (4, 4, 4, 4), " "),
        lambda chooser: in_groups(made.card(chooser), (6,), " "),
        lambda chooser: in_groups(made.card(chooser), (4, 4, 4, 4), "-"),
    ),
    "credit code": _of(made.credit_code, lambda chooser: made.credit_code(chooser).lower()),
    "IBAN": _of(
        made.iban,
        lambda chooser: in_groups(made.iban(chooser), (4,) * 8, " "),
        lambda chooser: in_groups(made.iban(chooser), (4,) * 8, "-"),
        lambda chooser: made.iban(chooser).lower(),
    ),
    "passport": _of(
        made.passport,
        lambda chooser: made.passport(chooser).lower(),
        made.service_passport,
        lambda chooser: made.service_passport(chooser).lower(),
    ),
    "e-mail": _of(
        made.email,
        lambda chooser: made.email(chooser).upper(),
        lambda chooser: f"{letters(chooser, 6)}@sub.{letters(chooser, 5, 'abcdefg')}.example.co",
        lambda chooser: f"{letters(chooser, 6)}@xn--{letters(chooser, 6, 'abcdefg')}.xn--fiqs8s",
        lambda chooser: f"李四_{digits(chooser, 4)}@example.org",
        lambda chooser: f"{letters(chooser, 3)}五@mail.例子.网络",
    ),
    "IP address": _of(made.public_ipv4, made.public_ipv6),
    "IPv6 address before a port": made.public_ipv6,
    "API key": _of(
        made.api_key,
        lambda chooser: f"xoxb-{digits(chooser, 12)}-{letters(chooser, 24)}",
        lambda chooser: f"github_pat_{letters(chooser, 22)}_{letters(chooser, 40)}",
        lambda chooser: f"sk-ant-api03-{letters(chooser, 40)}",
        lambda chooser: f"AIza{letters(chooser, 35)}",
        made.cloud_key,
    ),
    "web token": made.web_token,
}
FRAMES = [
    ("麻烦把", "改一下"),
    ("【用户】", "【备注】急"),
    ("联系人张三/", "/北京市朝阳区"),
    ("之前填错了，正确的是：", "。\n谢谢！"),
    ("Sent by: ", " (second attempt of 2)"),
    ("Dear team, ", "? No reply since Monday"),
    ("<b>", "</b>"),
    ("https://", "/path?x=1"),
    ("['", "', None]"),
    ("note:\t", "\tend"),
    ("可以用 ", " 查到吗？上次等了15分钟"),
]
NEAR_MISSES: dict[str, Make] = {
    "order number": _of(
        lambda chooser: "DD" + digits(chooser, 14),
        lambda chooser: f"NO.{digits(chooser, 8)}",
        lambda chooser: f"#{digits(chooser, 6)}-{digits(chooser, 4)}",
        lambda chooser: "2" + digits(chooser, 9),
        lambda chooser: digits(chooser, 13),
        lambda chooser: digits(chooser, 16),
    ),
    "amount": _of(
        lambda chooser: f"人民币{chooser.randint(1, 99_999)}.00元整",
        lambda chooser: f"EUR {chooser.randint(1, 10**6):,}",
        lambda chooser: f"{chooser.randint(1, 9)}.{digits(chooser, 15)}",
        lambda chooser: f"{chooser.randint(10**10, 10**11)} 韩元",
    ),
    "date": _of(
        lambda chooser: f"{chooser.randint(1, 12)}月{chooser.randint(1, 28)}日下午{chooser.randint(1, 9)}点",
        lambda chooser: (
            f"2025/{chooser.randint(10, 12)}/{chooser.randint(10, 28)} 09:{chooser.randint(10, 59)}"
        ),
        lambda chooser: str(chooser.randint(1_700_000_000, 1_799_999_999)),
        lambda chooser: f"17{digits(chooser, 11)} ms",
    ),
    "version": _of(
        lambda chooser: f"{chooser.randint(1, 30)}.{chooser.randint(0, 20)}.{chooser.randint(0, 9)}.post1",
        lambda chooser: f"CUDA 12.{chooser.randint(0, 9)}, glibc 2.{chooser.randint(28, 40)}",
        lambda chooser: f"iOS {chooser.randint(12, 19)}_{chooser.randint(0, 9)}_1",
    ),
    "tracking number": _of(
        lambda chooser: "EMS" + digits(chooser, 10),
        lambda chooser: "ZTO" + digits(chooser, 12),
        lambda chooser: f"LX{digits(chooser, 9)}US",
        lambda chooser: "78" + digits(chooser, 13),
    ),
    "identifier": _of(
        lambda chooser: f"trace_id={letters(chooser, 32, '0123456789abcdef')}",
        lambda chooser: f"commit {letters(chooser, 12, '0123456789abcdef')}",
        lambda chooser: f"0x{letters(chooser, 16, '0123456789abcdef')}",
        lambda chooser: f"session:{letters(chooser, 20)}",
    ),
    "programs": _of(
        lambda chooser: f"std::vector<int>::at({chooser.randint(0, 99)})",
        lambda chooser: f"task-{chooser.randint(1, 999)} of user@host failed",
        lambda chooser: f"192.168.{chooser.randint(0, 9)}.{chooser.randint(1, 99)}:9090, fe80::1",
        lambda chooser: f"range({chooser.randint(1, 9)}, {chooser.randint(10, 10**6)})",
        lambda chooser: f"使用@app.route装饰器{chooser.randint(1, 9)}次，安装@types/node",
        lambda chooser: f"npm_config_registry_of_{letters(chooser, 30, 'abcdefg_')}",
        lambda chooser: f"xapp-thumbnailers-common-{letters(chooser, 8, 'abcdefg')}",
        lambda chooser: (
            f"ASIA-PACIFIC_REGION_{letters(chooser, 8, 'ABCDEFG')}, AKID-{letters(chooser, 20, 'abc-')}"
        ),
        lambda chooser: f"感谢@小明{chooser.randint(1, 9)}号.谢谢",
    ),
    "numbers": _of(
        lambda chooser: f"邮编{digits(chooser, 6)}",
        lambda chooser: f"{chooser.randint(1, 9)}号楼{chooser.randint(101, 3203)}室",
        lambda chooser: f"{digits(chooser, 3)}-{digits(chooser, 2)}-{digits(chooser, 3)} pieces",
        lambda chooser: ", ".join(str(chooser.randint(0, 99)) for _ in range(8)),
        lambda chooser: f"{digits(chooser, 4)} {digits(chooser, 4)}",
    ),
    "barcode": _of(
        lambda chooser: "0" + digits(chooser, 11),
        lambda chooser: "69" + digits(chooser, 11),
        lambda chooser: "000" + digits(chooser, 9),
    ),
    "device number": lambda chooser: chooser.choice(("35", "86", "01")) + digits(chooser, 13),
    "time without signs": lambda chooser: (
        f"{chooser.randint(20, 35)}{chooser.randint(1, 12):02}{chooser.randint(1, 28):02}"
        f"{chooser.randint(0, 23):02}{chooser.randint(0, 59):02}{chooser.randint(0, 59):02}{digits(chooser, 3)}"
    ),
    "wrong checks": _of(
        lambda chooser: "110105" + "19991332" + digits(chooser, 4),
        lambda chooser: (card := made.card(chooser))[:-1] + str((int(card[-1]) + 5) % 10),
        lambda chooser: "DE00" + digits(chooser, 18),
    ),
}
_WIDE = {code: code + 0xFEE0 for code in range(0x30, 0x3A)}


def samples(seed: int, each: int) -> Iterator[Sample]:
    """`each` samples of every kind; the same seed gives the same."""
    chooser = random.Random(f"forms {seed}")
    for kind, make in VALUES.items():
        for number in range(each):
            before, after = FRAMES[number % len(FRAMES)]
            value = make(chooser)
            if kind in ("mobile phone", "resident identity", "payment card") and number % 9 == 0:
                value = value.translate(_WIDE)
            elif number % 9 == 1:
                value = "\u200c".join((value[: len(value) // 2], value[len(value) // 2 :]))
            elif number % 9 == 2:
                value = f"\u202d{value}\u202c"  # as a telephone copies its contacts
            if kind == "IPv6 address before a port":
                before, after = before + "[", "]:443" + after
            yield Sample(kind, before, value, after)
    for kind, make in NEAR_MISSES.items():
        for number in range(each):
            before, after = FRAMES[number % len(FRAMES)]
            yield Sample(kind, before + make(chooser) + after, "", "")
