-- What the bank was asked for. Written before it is asked, so that whoever finds the outcome unknown knows what to ask.
CREATE TABLE mall_payment (
  reference uuid PRIMARY KEY,
  request_id text NOT NULL,
  order_id uuid NOT NULL REFERENCES mall_order (id),
  buyer_id text NOT NULL,
  cents integer NOT NULL,
  status text NOT NULL DEFAULT 'asked' CHECK (status IN ('asked', 'paid', 'void')),
  asked_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- The last guard of the buyer: an order that is paid, or may be, is not paid again.
CREATE UNIQUE INDEX ON mall_payment (order_id) WHERE status <> 'void';
CREATE INDEX ON mall_payment (request_id);

-- Two entries a payment, whose sum is nothing.
CREATE TABLE mall_ledger_entry (
  reference uuid NOT NULL REFERENCES mall_payment (reference),
  account text NOT NULL,
  cents bigint NOT NULL,
  PRIMARY KEY (reference, account)
);
