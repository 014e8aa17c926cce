-- Epoch milliseconds, taken while no claim was under way. A consumer is given its start in a key whose generation is not
-- later with the first message of it; where this is 0, the starts in all keys were written when the consumer subscribed.
ALTER TABLE lockstep_outbox_subscription ADD COLUMN IF NOT EXISTS since bigint NOT NULL DEFAULT 0;
