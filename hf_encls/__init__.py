"""EnCodec latents (or mel) of audio in, a small CNN on the Hub out."""

__version__ = "0.1.0"
