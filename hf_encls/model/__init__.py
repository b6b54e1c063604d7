"""What travels with a checkpoint. Files import each other relatively and flat, and nothing else of hf_encls."""

import transformers as transformers  # first of all: it registers the classes here, which must not be half loaded then
