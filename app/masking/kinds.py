"""The kinds of what is masked: for each a pattern of candidates and, where there is one, the check that tells more.

Between Chinese characters there is no word boundary, so borders are look-arounds for what would make the candidate a
part of something longer. No pattern repeats within a repetition without a bound: time is linear in the text.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from app.masking.check_digits import is_account, is_credit_code, is_resident_identity, passes_luhn

_ALONE = r"(?<![0-9A-Za-z].)"
_NUMBER = r"(?<![0-9].)(?<![0-9]\..)(?<![0-9][A-Za-z].)"
"""Not within a number, behind a decimal point or within an identifier of letters and digits.

Borders on the left stand behind the first character: a search that begins with a set of characters is many times faster
than one that begins with looking back.
"""
_END = r"(?![0-9A-Za-z])"
_NUMBER_END = r"(?![0-9A-Za-z]|\.[0-9])"


_MOBILE = "(?:[0-9]{8}|[ -][0-9]{4}[ -][0-9]{4}|[ -][0-9]{8})"
_TOKENS = (
    *(
        "sk-",
        "pk-",
        "rp-",
        "sk_",
        "pk_",
        "hf_",
        "ghp_",
        "gho_",
        "ghu_",
        "ghs_",
        "ghr_",
        "github_pat_",
        "glpat-",
    ),
    *("xoxb-", "xoxp-", "xoxa-", "AKIA", "AIza"),
)
"""How keys of this service and of others begin that people paste."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind.

    Attributes:
        name: what stands in its place.
        pattern: finds candidates.
        part: of a candidate, how many characters from its start on are it; 0 where it is none.
        hint: what every text with one of this kind contains.
    """

    name: str
    pattern: re.Pattern[str]
    part: Callable[[str], int] = len
    hint: str = ""

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Start and end of each in the text, from the left, without overlaps."""
        position = 0
        while match := self.pattern.search(text, position):
            if length := self.part(match[0]):
                yield match.start(), match.start() + length
            position = match.start() + max(length, 1)


def _card(candidate: str) -> int:
    """A card number has 13 to 19 digits and an issuer of payment cards; further groups may follow it."""
    if candidate[0] == "2" and not "22" <= candidate[:2] <= "27":
        return 0
    for end in range(len(candidate), 12, -1):
        if candidate[end : end + 1].isdigit() or not candidate[end - 1].isdigit():
            continue
        digits = re.sub("[ -]", "", candidate[:end])
        if len(digits) >= 13 and passes_luhn(digits):
            return end
    return 0


def _account(candidate: str) -> int:
    """The longest IBAN that ends with a group; words in capitals may follow it."""
    for end in range(len(candidate), 14, -1):
        if candidate[end : end + 1].isalnum() or candidate[end - 1] == " ":
            continue
        compact = candidate[:end].replace(" ", "")
        if len(compact) >= 15 and is_account(compact):
            return end
    return 0


def _address(candidate: str) -> int:
    """An IP address of somebody: those of a private network are machines, which an operator has to find."""
    try:
        address = ipaddress.ip_address(candidate)
    except ValueError:
        return 0
    somebody = not address.is_private and any(map(str.isdigit, candidate))
    return len(candidate) if somebody else 0


def _passport(candidate: str) -> int:
    """China's ordinary and public ones, and the travel permits of Hong Kong and Macau."""
    travel_permit = candidate[0] in "HM" and candidate[1].isdigit()
    passport = len(candidate) == 9 and (
        candidate[0] == "E" or (candidate[0] == "G" and candidate[1].isdigit())
    )
    return len(candidate) if travel_permit or passport else 0


def _whole(check: Callable[[str], bool]) -> Callable[[str], int]:
    return lambda candidate: len(candidate) if check(candidate) else 0


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
    Kind("token", _of(r"(?<=earer )[0-9A-Za-z._~+/-]{16,}=*"), hint="earer "),
    Kind("token", _of(r"(?<=asic )[0-9A-Za-z+/]{12,}=*"), hint="asic "),
    Kind(
        "email",
        _of(
            r"[0-9A-Za-z._%+-](?<![0-9A-Za-z._%+-].)[0-9A-Za-z._%+-]{0,63}"
            rf"@(?:[0-9A-Za-z][0-9A-Za-z-]{{0,62}}\.){{1,8}}[A-Za-z]{{2,24}}{_END}"
        ),
        hint="@",
    ),
    Kind("ip", _of(r"[0-9](?<![0-9A-Za-z.].)[0-9]{0,2}(?:\.[0-9]{1,3}){3}(?![0-9A-Za-z]|\.[0-9])"), _address),
    Kind("ip", _of(r"[0-9A-Fa-f:](?<![0-9A-Za-z:.].)[0-9A-Fa-f:]{2,38}(?![0-9A-Za-z:])"), _address, hint=":"),
)
"""Names, keys and addresses, in the order in which they are looked for: what one took is none of the next."""

NUMBER_KINDS = (
    Kind(
        "identity",
        _of(rf"[1-9]{_ALONE}[0-9]{{5}}(?:18|19|20)[0-9]{{2}}[01][0-9][0-3][0-9]{{4}}[0-9Xx]{_END}"),
        _whole(is_resident_identity),
    ),
    Kind(
        "credit code",
        _of(rf"[1-9ANY]{_ALONE}[1-9][0-9]{{6}}[0-9A-HJ-NP-RTUWXY]{{10}}{_END}"),
        _whole(is_credit_code),
    ),
    Kind("account", _of(rf"[A-Z]{_ALONE}[A-Z][0-9]{{2}}(?: ?[0-9A-Z]){{11,30}}"), _account),
    Kind("card", _of(rf"[2-6]{_NUMBER}(?:[ -]?[0-9]){{12,18}}"), _card),
    Kind("phone", _of(rf"\+(?<![0-9A-Za-z+].)[1-9](?:[ .()-]{{0,2}}[0-9]){{7,14}}{_NUMBER_END}"), hint="+"),
    Kind("phone", _of(rf"0{_NUMBER}0[1-9](?:[ .()-]{{0,2}}[0-9]){{7,13}}{_NUMBER_END}"), hint="00"),
    Kind("phone", _of(rf"8{_NUMBER}6[ -]?1[3-9][0-9]{_MOBILE}{_NUMBER_END}"), hint="86"),
    Kind("phone", _of(rf"1{_NUMBER}[3-9][0-9]{_MOBILE}{_NUMBER_END}")),
    Kind(
        "phone", _of(rf"\(0[1-9][0-9]{{1,2}}\) ?[2-9][0-9]{{6,7}}(?:-[0-9]{{1,5}})?{_NUMBER_END}"), hint="(0"
    ),
    Kind("phone", _of(rf"0{_NUMBER}[1-9][0-9]{{1,2}}[ -][2-9][0-9]{{6,7}}(?:-[0-9]{{1,5}})?{_NUMBER_END}")),
    Kind("phone", _of(rf"\([2-9][0-9]{{2}}\) ?[2-9][0-9]{{2}}[-.][0-9]{{4}}{_NUMBER_END}"), hint="("),
    Kind("phone", _of(rf"[2-9]{_NUMBER}[0-9]{{2}}([-.])[2-9][0-9]{{2}}\1[0-9]{{4}}{_NUMBER_END}")),
    Kind("passport", _of(rf"[EGHM]{_ALONE}[0-9A-HJ-NP-Z][0-9]{{7}}(?:[0-9]{{2}})?{_END}"), _passport),
)
"""What has six digits, with at most two other characters between any two; looked for after the others."""
