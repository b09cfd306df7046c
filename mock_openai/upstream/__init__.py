"""The fake OpenAI and Gemini upstream: faithful on the wire, paced by absolute deadlines, steerable, journalled."""
