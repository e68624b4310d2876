"""Greetings, thanks, chit-chat and recorded task dialogues, alone or as turns of a longer conversation."""

import random
from pathlib import Path

from workshop.encode import Message
from workshop.rows import read_csv, read_jsonl

GREETINGS = (
    (
        ("Hi", "hello", "Hey there", "Good morning", "hi there!", "Hello!", "good afternoon", "hey"),
        (
            "Hello! How can I help you today?",
            "Hi there! What can I do for you?",
            "Hello, how may I assist you?",
        ),
    ),
    (
        (
            "Thanks",
            "thank you so much",
            "Thank you!",
            "great, thanks",
            "thanks for your help",
            "ok thank you",
            "thx",
        ),
        ("You're welcome! Is there anything else I can help you with?", "You're welcome!", "Happy to help!"),
    ),
    (
        ("bye", "That's all, goodbye", "no that's all", "goodbye", "have a nice day", "No, thanks"),
        ("Goodbye! Have a great day.", "Thank you for contacting us. Have a nice day!", "Goodbye!"),
    ),
    (
        ("I need help", "can you help me?", "help", "I have a problem", "I have a question"),
        (
            "Of course. What can I help you with?",
            "Sure, please tell me more about it.",
            "I'm here to help. What happened?",
        ),
    ),
    (
        ("Who are you?", "what are you", "what can you do?", "are you a bot?", "am I talking to a human?"),
        (
            "I'm a virtual assistant for customer support. I can help with orders, refunds and invoices.",
            "I'm an automated support assistant. Ask me about your orders, payments, deliveries or account.",
        ),
    ),
    (
        (
            "What is the capital of France?",
            "who won the world cup",
            "tell me a joke",
            "what's 17 times 23?",
            "write me a poem",
            "what is quantum physics?",
            "how tall is mount everest",
            "what's the weather like?",
            "who is the president?",
            "explain black holes",
            "translate this to French",
            "write some python code",
        ),
        (
            "I'm sorry, I can only help with customer support questions.",
            "That is outside of what I know. I can help with orders, payments, deliveries and accounts.",
        ),
    ),
)
CRISIS = (
    "I'm very sorry that you feel this way. "
    "Please talk to someone you trust or call your local emergency number."
)


def greeting(rng: random.Random, kinds: tuple[int, ...] = (0, 1, 2, 3, 4, 5)) -> list[Message]:
    """One exchange of pleasantries; `kinds` picks rows of GREETINGS."""
    questions, answers = GREETINGS[rng.choice(kinds)]
    return [Message("user", rng.choice(questions)), Message("assistant", rng.choice(answers))]


def read_chitchat(data: Path) -> list[list[Message]]:
    """Single exchanges of small talk in a professional tone."""
    rows = read_csv(data / "chitchat_professional" / "qa.csv.gz")
    return [
        [
            Message("user", row["question"].replace("\ufffd", "'")),
            Message(
                "assistant", CRISIS if "Suicide" in row["answer"] else row["answer"].replace("\ufffd", "'")
            ),
        ]
        for row in rows
    ]


def read_dialogues(data: Path) -> list[list[Message]]:
    """Task dialogues: completed STAR conversations with database results as tool turns, and coffee orders."""
    star = (row for row in read_jsonl(data / "star" / "dialogues.jsonl.gz") if row["complete"])
    coffee = read_jsonl(data / "taskmaster4" / "dialogues.jsonl.gz")
    merged = (_turns(row["turns"]) for source in (star, coffee) for row in source)
    return [turns for turns in merged if len(turns) >= 2]


def _turns(raw: list[dict[str, object]]) -> list[Message]:
    """Joins neighbouring turns of one speaker and drops what comes before the customer's first."""
    turns: list[Message] = []
    for turn in raw:
        role = {"u": "user", "a": "assistant", "kb": "tool"}[str(turn["s"])]
        text = _result(turn.get("item")) if role == "tool" else str(turn.get("t") or "").strip()
        if not text or (not turns and role != "user"):
            continue
        if turns and turns[-1].role == role:
            text = turns.pop().content + (" " if role != "tool" else "\n") + text
        turns.append(Message(role, text))
    while turns and turns[-1].role != "assistant":
        turns.pop()
    return turns


def _result(item: object) -> str:
    if not isinstance(item, dict):
        return ""
    return ", ".join(f"{key}: {value}" for key, value in list(item.items())[:8] if key != "APIName" and value)
