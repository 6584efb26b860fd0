"""Who is here and is it unlocked: key slots, lock, consent."""
