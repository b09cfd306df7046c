"""mock_openai: a fake OpenAI and Gemini upstream, and the reference chat server of five chat systems."""

__version__ = "0.1.0"
