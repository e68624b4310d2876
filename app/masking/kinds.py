"""The kinds of what is masked: for each a pattern of candidates and, where there is one, the check that tells more.

Between Chinese characters there is no word boundary, so borders are look-arounds for what would make the candidate a
part of something longer. No pattern repeats within a repetition without a bound: time is linear in the text.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from app.masking.check_digits import (
    is_account,
    is_credit_code,
    is_first_resident_identity,
    is_resident_identity,
    passes_luhn,
)

_ALONE = r"(?<![0-9A-Za-z].)"
_NUMBER = r"(?<![0-9].)(?<![0-9]\..)(?<![0-9][A-Za-z].)(?<![0-9][A-Za-z]{2}.)(?<![0-9][A-Za-z]{3}.)"
"""Not within a number, behind a decimal point or within an identifier of letters and digits.

Borders on the left stand behind the first character: a search that begins with a set of characters is many times faster
than one that begins with looking back.
"""
_END = r"(?![0-9A-Za-z])"
_NUMBER_END = r"(?![0-9A-Za-z]|\.[0-9])"


_MOBILE = r"(?:[0-9]{8}|[ .-][0-9]{4}[ .-][0-9]{4}|[ -][0-9]{8})"
_EXTENSION = "(?:[-转][0-9]{1,5})?"
_LOCAL = f"[2-9][0-9]{{2,3}}[ .-]?[0-9]{{4}}{_EXTENSION}"
"""A landline behind its area code, and an extension."""
_LONG_AREA = (
    "(?:3(?:1[0-9]|35|49|5[0-9]|7[0-9]|9[1-8])|4(?:1[1-9]|2[179]|3[1-9]|40|5[1-9]|6[4789]|7[0-9]|8[23])"
    "|5(?:1[0-9]|2[0-7]|3[0-9]|4[36]|5[0-9]|6[1-6]|7[0-9]|80|9[1-9])|6(?:3[1-5]|6[0238]|9[12])"
    "|7(?:01|1[0-9]|2[248]|3[0-9]|4[3-6]|[5-79][0-9])|8(?:1[2-8]|2[5-7]|[357][0-9]|8[3678]|9[1-8])"
    "|9(?:[0179][0-9]|3[0-9]|4[13]|5[1-5]))"
)
"""Area codes of China with three digits behind the 0. Without a separator, or with a dot as in decimals, only a code
that there is tells a landline from another number."""
_JOINED_LANDLINE = (
    rf"(?:(?:10|2[0-57-9])\.?[2-8][0-9]{{3}}|{_LONG_AREA}\.?[2-8][0-9]{{2,3}})\.?[0-9]{{4}}{_EXTENSION}"
)
_TOKENS = (
    *("sk-", "pk-", "rp-", "sk_", "pk_", "hf_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
    *("glpat-", "AKIA", "AIza"),
)
"""How keys of this service and of others begin that people paste."""
_SHAPED_TOKENS = {
    "ASIA": r"ASIA[0-9A-Z]{16,}",  # Amazon's, for a session; also a word in capitals
    "LTAI": r"LTAI[0-9A-Za-z]{12,}",  # Alibaba's: 16 characters, later 24
    "AKID": r"AKID[0-9A-Za-z]{16,}",  # Tencent's
    "npm_": r"npm_[0-9A-Za-z]{36,}",  # not `npm_config_...`, a variable
    "SG.": r"SG\.[0-9A-Za-z_-]{16,32}\.[0-9A-Za-z_-]{16,64}",  # SendGrid's
    "ya29.": r"ya29\.(?:[0-9A-Za-z]{1,4}\.)?[0-9A-Za-z_-]{16,}",  # Google's, for an hour
    "xapp-": r"xapp-[0-9]-[0-9A-Za-z-]{16,}",  # Slack's; not `xapp-...`, a package
    "xox": r"xox[abp]-[0-9A-Za-z_-]{16,}",  # Slack's
    "_v1_": r"do[opr]_v1_[0-9a-f]{32,}",  # DigitalOcean's
}
"""Those of which more is known than how they begin: what each contains, and the whole."""
_IN_ADDRESS = "0-9A-Za-z._%+-"
_HAN = "\u3400-\u4dbf\u4e00-\u9fff"
_NAMED = f"[{_HAN}](?<![是的到给向把请对叫你我您他她箱址件码号系])"
"""A character of a name that stands before an `@`: there is no space in front of it, so words that lead to an address
are told by characters that no name has."""
_LABEL = f"(?:[0-9A-Za-z][0-9A-Za-z-]{{0,62}}|[{_HAN}]{{1,20}})"
_HAN_TOP = (
    "中国|中國|公司|网络|网址|网站|网店|在线|中文网|集团|政务|政府|公益|商城|商店|商标|企业|机构|组织机构|信息|移动|手机"
    "|娱乐|游戏|餐厅|香港|台湾|台灣|新加坡|广东|佛山|慈善|健康|招聘|时尚|购物|食品|世界|我爱你"
)
_USUAL_TOP = "com|cn|net|org|edu|gov|hk|tw|io|co|me|info|biz|top|vip|xyz|cc|tech|cloud|asia"
_NAME = rf"[{_IN_ADDRESS}](?<![{_IN_ADDRESS}].)[{_IN_ADDRESS}]{{0,63}}"
_HAN_NAME = (
    rf"(?:[{_IN_ADDRESS}](?<![{_IN_ADDRESS}].)[{_IN_ADDRESS}]{{0,31}})?"
    rf"(?:{_NAMED}){{1,4}}(?:[._+][{_IN_ADDRESS}]{{0,57}})?"
)
"""What stands before the `@` and has Chinese characters. More than four would take the sentence before it, and hold it
back where text still grows. Where letters and digits follow them without a sign between, these begin the address."""
NAME = rf"(?:{_HAN_NAME}|{_NAME})\Z"
DOMAIN = rf"(?:{_LABEL}\.){{0,8}}{_LABEL}?"
"""Both sides of the `@` as far as they may have come."""
LONGEST_NAME, LONGEST_DOMAIN = 96, 600
"""Characters of them, at most."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind.

    Attributes:
        name: what stands in its place.
        pattern: finds candidates.
        part: of a candidate, how many characters from its start on are it; 0 where it is none.
        hint: what every text with one of this kind contains.
        before: what ends where a candidate begins and is part of it; where there is nothing such, it is none. To look
            for a sign in the middle and then back is faster than to look for any name.
        in_ascii: whether it may be found in text that has nothing but ASCII.
    """

    name: str
    pattern: re.Pattern[str]
    part: Callable[[str], int] = len
    hint: str = ""
    before: re.Pattern[str] | None = None
    in_ascii: bool = True

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Start and end of each in the text, from the left, without overlaps."""
        position = 0
        while match := self.pattern.search(text, position):
            start, length = match.start(), self.part(match[0])
            end = start + length
            if self.before and length:
                name = self.before.search(text, max(position, start - LONGEST_NAME), start)
                start, length = (name.start(), length) if name else (start, 0)
            if length:
                yield start, end
            position = end if length else match.start() + 1


_ISSUED = re.compile(
    r"""
    4[0-9]{12}(?:[0-9]{3}){0,2}                                    # Visa
    | (?:5[1-5][0-9]{2}|222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12}  # Mastercard
    | 3[47][0-9]{13}                                               # American Express
    | 3(?:0[0-5]|[689][0-9])[0-9]{11}(?:[0-9]{2})?                 # Diners Club
    | 35(?:2[89]|[3-8][0-9])[0-9]{12}                              # JCB
    | 62[0-9]{14,17}                                               # UnionPay
    | (?:60[0-9]{2}|65[0-9]{2}|64[4-9][0-9]|955[89])[0-9]{12}(?:[0-9]{3})?  # Discover, RuPay, older Chinese
    | (?:5018|5020|5038|5893|6304|67[0-9]{2})[0-9]{9,15}           # Maestro
    | 220[0-4][0-9]{12}                                            # Mir
    """,
    re.VERBOSE,
)
"""By issuer, how long its numbers are: a tenth of all numbers passes the check, so beginning and length must fit."""


def _card(candidate: str) -> int:
    """A card number has an issuer's beginning and length and passes the check; further groups may follow it."""
    places = [place for place, character in enumerate(candidate) if character.isdigit()]
    digits = "".join(candidate[place] for place in places)
    for length in range(len(digits), 12, -1):
        end = places[length - 1] + 1
        alone = not candidate[end : end + 1].isdigit()
        if alone and _ISSUED.fullmatch(digits, 0, length) and passes_luhn(digits[:length]):
            return end
    return 0


_ACCOUNT_LENGTHS = {
    country: int(length)
    for country, length in re.findall(
        "([A-Z]{2})([0-9]{2})",
        "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 EE20 EG29 ES24 "
        "FI18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 "
        "LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MR27 MT31 MU30 NL18 NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22 "
        "SA24 SC31 SE24 SI19 SK24 SM27 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20",
    )
}
"""Characters of an IBAN, by country."""


def _account(candidate: str) -> int:
    """An IBAN has the length of its country; words may follow it."""
    left = _ACCOUNT_LENGTHS.get(candidate[:2].upper(), 0)
    for end, character in enumerate(candidate, 1):
        left -= character.isalnum()
        if left == 0:
            alone = not candidate[end : end + 1].isalnum()
            return end if alone and is_account(re.sub("[ -]", "", candidate[:end])) else 0
    return 0


def _address(candidate: str) -> int:
    """An IP address of somebody: those of a private network are machines, which an operator has to find.

    Behind one of eight groups, a ninth is a port.
    """
    if candidate.count(":") == 8:
        candidate = candidate.rpartition(":")[0]
    try:
        address = ipaddress.ip_address(candidate)
    except ValueError:
        return 0
    somebody = not address.is_private and any(map(str.isdigit, candidate))
    return len(candidate) if somebody else 0


def _passport(candidate: str) -> int:
    """China's ordinary, public, service and diplomatic ones, Macau's, and the travel permits of Hong Kong and Macau."""
    candidate = candidate.upper()
    travel_permit = candidate[0] in "HM" and candidate[1].isdigit()
    passport = len(candidate) == 9 and (
        candidate[0] == "E"
        or (candidate[0] == "G" and candidate[1].isdigit())
        or candidate[:2] in ("PE", "SE", "DE", "MA")
    )
    return len(candidate) if travel_permit or passport else 0


def _whole(check: Callable[[str], bool]) -> Callable[[str], int]:
    """All of a candidate, if the check holds without its separators."""
    return lambda candidate: len(candidate) if check(re.sub("[ -]", "", candidate).upper()) else 0


def _of(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.DOTALL)


KINDS = (
    Kind(
        "private key", _of(r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----[0-9A-Za-z+/=\s\\]*"), hint="PRIVATE KEY"
    ),
    Kind("token", _of(rf"e{_ALONE}yJ[0-9A-Za-z_-]{{8,}}\.[0-9A-Za-z_-]{{8,}}\.[0-9A-Za-z_-]*"), hint="eyJ"),
    *(
        Kind("token", _of(rf"{name[0]}(?<![0-9A-Za-z_-].){name[1:]}[0-9A-Za-z_-]{{16,}}"), hint=name)
        for name in _TOKENS
    ),
    *(
        Kind("token", _of(rf"{whole[0]}(?<![0-9A-Za-z_-].){whole[1:]}{_END}"), hint=hint)
        for hint, whole in _SHAPED_TOKENS.items()
    ),
    Kind("token", _of(r"(?<=earer )[0-9A-Za-z._~+/-]{16,}=*"), hint="earer "),
    Kind("token", _of(r"(?<=asic )[0-9A-Za-z+/]{12,}=*"), hint="asic "),
    Kind(  # before `@app.route` of a program stand Chinese characters, too
        "email",
        _of(rf"@(?<=[{_IN_ADDRESS}{_HAN}]@)(?:{_LABEL}\.){{1,8}}(?:(?:{_USUAL_TOP}){_END}|{_HAN_TOP})"),
        hint="@",
        before=_of(rf"{_HAN_NAME}\Z"),
        in_ascii=False,
    ),
    Kind(
        "email",
        _of(
            rf"@(?<=[{_IN_ADDRESS}]@)"
            rf"(?:{_LABEL}\.){{1,8}}(?:xn--[0-9A-Za-z-]{{2,59}}{_END}|[A-Za-z]{{2,24}}{_END}|{_HAN_TOP})"
        ),
        hint="@",
        before=_of(rf"{_NAME}\Z"),
    ),
    Kind("ip", _of(r"[0-9](?<![0-9A-Za-z.].)[0-9]{0,2}(?:\.[0-9]{1,3}){3}(?![0-9A-Za-z]|\.[0-9])"), _address),
    Kind("ip", _of(r"[0-9A-Fa-f:](?<![0-9A-Za-z:.].)[0-9A-Fa-f:]{2,44}(?![0-9A-Za-z:])"), _address, hint=":"),
)
"""Names, keys and addresses, in the order in which they are looked for: what one took is none of the next."""

NUMBER_KINDS = (
    Kind(
        "identity",
        _of(
            rf"[1-9]{_ALONE}[0-9]{{5}}[ -]?(?:18|19|20)[0-9]{{2}}[01][0-9][0-3][0-9][ -]?[0-9]{{3}}[0-9Xx]{_END}"
        ),
        _whole(is_resident_identity),
    ),
    Kind(
        "identity",
        _of(
            rf"[1-6]{_ALONE}(?<![0-9]\..)[0-9]{{5}}[ -]?[2-9][0-9][01][0-9][0-3][0-9][ -]?[0-9]{{3}}{_NUMBER_END}"
        ),
        _whole(is_first_resident_identity),
    ),
    Kind(
        "credit code",
        _of(rf"[1-9ANYany]{_ALONE}[1-9][1-8][0-9]{{5}}[0-9A-HJ-NP-RTUWXYa-hj-np-rtuwxy]{{10}}{_END}"),
        _whole(is_credit_code),
    ),
    Kind("account", _of(rf"[A-Za-z]{_ALONE}[A-Za-z][0-9]{{2}}(?:[ -]?[0-9A-Za-z]){{11,30}}"), _account),
    Kind("card", _of(rf"[2-69]{_NUMBER}(?:[ -]?[0-9]){{12,18}}(?![0-9])"), _card),
    Kind("phone", _of(rf"\+(?<![0-9A-Za-z+].)[1-9](?:[ .()-]{{0,2}}[0-9]){{7,14}}{_NUMBER_END}"), hint="+"),
    Kind(
        "phone",
        _of(rf"0{_NUMBER}(?<![0-9][ -].)(?<![A-Z].)0[1-9](?:[ .()-]{{0,2}}[0-9]){{7,13}}{_NUMBER_END}"),
        hint="00",
    ),
    Kind("phone", _of(rf"8{_NUMBER}6[ .-]?1[3-9][0-9]{_MOBILE}{_NUMBER_END}"), hint="86"),
    Kind("phone", _of(rf"1{_NUMBER}[3-9][0-9]{_MOBILE}{_NUMBER_END}")),
    Kind("phone", _of(rf"\(0[1-9][0-9]{{1,2}}\) ?{_LOCAL}{_NUMBER_END}"), hint="(0"),
    Kind("phone", _of(rf"0{_NUMBER}(?<![0-9][ -].)[1-9][0-9]{{1,2}}[ -]{_LOCAL}{_NUMBER_END}")),
    Kind("phone", _of(rf"0{_ALONE}(?<![0-9][ .-].){_JOINED_LANDLINE}{_NUMBER_END}"), hint="0"),
    Kind("phone", _of(rf"\([2-9][0-9]{{2}}\) ?[2-9][0-9]{{2}}[-.][0-9]{{4}}{_NUMBER_END}"), hint="("),
    Kind("phone", _of(rf"[2-9]{_NUMBER}[0-9]{{2}}([-.])[2-9][0-9]{{2}}\1[0-9]{{4}}{_NUMBER_END}")),
    Kind(
        "passport",
        _of(rf"[DEGHMPSdeghmps]{_ALONE}[0-9A-HJ-NP-Za-hj-np-z][0-9]{{7}}(?:[0-9]{{2}})?{_END}"),
        _passport,
    ),
)
"""What has six digits, with at most two other characters between any two; looked for after the others."""
