"""How labels and label lists are worded: spelling styles, task words, descriptions, the yes/no forms."""

import random
import re

NONE = "none of these"
SEPARATOR = " | "
TASKS = {
    "intent": (
        "intent",
        "intent",
        "intent",
        "customer intent",
        "topic",
        "category",
        "request",
        "classify the message",
    ),
    "sentiment": (
        "sentiment",
        "sentiment",
        "sentiment",
        "tone",
        "feeling",
        "polarity",
        "sentiment of the text",
    ),
    "emotion": ("emotion", "emotion", "feeling", "mood"),
}
# Questions about the customer that an emotion label answers.
EMOTIONS = {
    "anger": ("angry", "furious", "mad"),
    "annoyance": ("annoyed", "irritated", "frustrated"),
    "disappointment": ("disappointed", "let down"),
    "gratitude": ("grateful", "thankful"),
    "joy": ("happy", "glad"),
    "sadness": ("sad", "unhappy"),
    "confusion": ("confused", "puzzled"),
    "surprise": ("surprised",),
    "fear": ("afraid", "scared"),
    "curiosity": ("curious",),
    "admiration": ("impressed", "full of praise"),
    "love": ("fond of something", "in love with it"),
    "excitement": ("excited",),
    "remorse": ("sorry", "apologetic"),
    "optimism": ("optimistic", "hopeful"),
    "disgust": ("disgusted",),
    "amusement": ("amused",),
    "disapproval": ("disapproving",),
    "approval": ("approving", "in agreement"),
}
DESCRIPTIONS = {
    "cancel_order": "customer wants to cancel an order",
    "change_order": "customer wants to change items of an order",
    "place_order": "customer wants to buy something",
    "track_order": "customer asks where an order is",
    "get_refund": "customer wants money back",
    "track_refund": "customer asks when the refund arrives",
    "check_refund_policy": "when refunds are possible",
    "payment_issue": "a payment failed or went wrong",
    "check_payment_methods": "which ways to pay exist",
    "check_invoice": "customer wants to see an invoice",
    "get_invoice": "customer wants an invoice sent",
    "check_cancellation_fee": "what cancelling costs",
    "complaint": "customer is unhappy with the service",
    "review": "customer wants to leave feedback",
    "contact_customer_service": "how to reach support",
    "contact_human_agent": "customer wants to talk to a person",
    "create_account": "customer wants to open an account",
    "delete_account": "customer wants to close an account",
    "edit_account": "customer wants to change account data",
    "switch_account": "customer wants another account type",
    "recover_password": "customer forgot the password",
    "registration_problems": "signing up does not work",
    "change_shipping_address": "customer wants another delivery address",
    "set_up_shipping_address": "customer adds a delivery address",
    "delivery_options": "which ways of delivery exist",
    "delivery_period": "how long delivery takes",
    "newsletter_subscription": "customer asks about the newsletter",
    "positive": "the writer is pleased",
    "negative": "the writer is displeased",
    "neutral": "no clear feeling",
}
PREDICATES = (
    "Is the text about {0}?",
    "Is this message about {0}?",
    "Does the customer ask about {0}?",
    "Is the intent {0}?",
    "Does this mention {0}?",
    "Is the customer writing about {0}?",
    "Is it {0}?",
    "Should this be labelled {0}?",
)


def spaced(name: str) -> str:
    """The plain words of a label: `card_arrival`, `cardArrival` and `card-arrival` become `card arrival`."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return " ".join(re.sub(r"[_\-/.?]+", " ", words).split()).lower()


def styled(name: str, style: str) -> str:
    """A label in a spelling style: spaced, snake, title or kebab."""
    words = spaced(name)
    if style == "snake":
        return words.replace(" ", "_")
    if style == "kebab":
        return words.replace(" ", "-")
    return words.title() if style == "title" else words


def draw_style(rng: random.Random) -> str:
    """A spelling style; plain words are the most frequent."""
    return rng.choices(("spaced", "snake", "title", "kebab"), (0.6, 0.25, 0.12, 0.03))[0]


def choice_prompt(task: str, labels: list[str]) -> str:
    """The system content for a choice among labels."""
    return f"Task: {task}. Labels: {SEPARATOR.join(labels)}"


def multi_label_prompt(task: str, label: str) -> str:
    """The system content that asks whether one label applies."""
    return f"Task: {task}. Is it {label}? Labels: yes | no"


def predicate_prompt(instructions: str) -> str:
    """The system content of a free yes/no question."""
    return f"Task: {instructions} Labels: yes | no"
