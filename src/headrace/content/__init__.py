"""What an item says: pretrained encoders and tables of vectors."""

from headrace.core.threads import wait_quietly

wait_quietly()
