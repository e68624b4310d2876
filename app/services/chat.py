"""ChatService: messages in, a generation of the assistant's turn out."""

from collections.abc import Sequence

from app.errors import InvalidRequest
from app.observation import Observation
from app.services.chat_template import Message
from app.services.generation import Generation
from app.services.options import GenerationOptions
from app.services.prompts import PromptService
from app.settings import Settings


class ChatService:
    """The chat use case, whole and streamed alike."""

    def __init__(self, prompts: PromptService, settings: Settings) -> None:
        self._prompts = prompts
        self._settings = settings

    async def start(
        self, messages: Sequence[Message], options: GenerationOptions, observation: Observation
    ) -> Generation:
        """Render, tokenize and submit a conversation.

        Raises:
            InvalidRequest: no messages or too many, or the chat template refuses them.
            ContextLengthExceeded, DeadlineExceeded, Unavailable: refused before anything was queued.
        """
        prompt = await self.tokenize(messages, observation)
        return self._prompts.open([prompt], options, "messages", observation)

    async def tokenize(self, messages: Sequence[Message], observation: Observation) -> list[int]:
        """The prompt's token ids.

        Raises:
            InvalidRequest, ContextLengthExceeded: as for `start`.
        """
        if not messages:
            raise InvalidRequest("At least one message is needed.", "messages")
        if len(messages) > self._settings.max_messages:
            raise InvalidRequest(f"At most {self._settings.max_messages} messages are taken.", "messages")
        size = sum(len(message.content.encode()) for message in messages)
        tokenizer = self._prompts.tokenizer
        (prompt,) = await self._prompts.tokenize(
            lambda: [tokenizer.encode_prompt(messages, observation.tenant or "")],
            [size],
            "messages",
            observation,
        )
        return prompt
