"""The model's tokenizer over HTTP."""

import httpx
import pytest

from app.services.tokenizer import Message, Tokenizer

pytestmark = pytest.mark.anyio


async def test_text_goes_there_and_back(client: httpx.AsyncClient, tokenizer: Tokenizer) -> None:
    text = "Hello <|im_end|> 订单 👋🏽"
    answer = (await client.post("/tokenize", json={"prompt": text})).json()
    assert answer["tokens"] == tokenizer.encode_completion(text)
    assert (answer["count"], answer["max_model_len"]) == (len(answer["tokens"]), 256)
    assert tokenizer.special_ids.isdisjoint(answer["tokens"])
    back = (await client.post("/detokenize", json={"tokens": answer["tokens"]})).json()
    assert back == {"prompt": text}


async def test_messages_are_those_of_chat(client: httpx.AsyncClient, tokenizer: Tokenizer) -> None:
    answer = (await client.post("/tokenize", json={"messages": [{"role": "user", "content": "Hi"}]})).json()
    assert answer["tokens"] == tokenizer.encode_prompt([Message("user", "Hi")])
    back = (await client.post("/detokenize", json={"tokens": answer["tokens"]})).json()
    assert back["prompt"].startswith("<|im_start|>user\nHi<|im_end|>")


async def test_no_text_is_no_tokens(client: httpx.AsyncClient) -> None:
    assert (await client.post("/tokenize", json={"prompt": ""})).json()["tokens"] == []
    assert (await client.post("/detokenize", json={"tokens": []})).json() == {"prompt": ""}
