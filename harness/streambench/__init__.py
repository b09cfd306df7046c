"""streambench: does a chat endpoint really stream, how fast does it feel, does it speak its protocol correctly?"""

__version__ = "0.1.0"
