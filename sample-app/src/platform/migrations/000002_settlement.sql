-- What the merchants have earned. The last guards of the money: settled_through says up to which day they have been
-- paid, and the fence refuses whoever settled under a lock that has passed on.
CREATE TABLE mall_merchant_account (
  id text PRIMARY KEY,
  cents bigint NOT NULL DEFAULT 0 CHECK (cents >= 0),
  settled_through date NOT NULL DEFAULT '1970-01-01',
  fence bigint NOT NULL DEFAULT 0
);
INSERT INTO mall_merchant_account (id) VALUES ('house');

ALTER TABLE mall_product ADD COLUMN merchant_id text NOT NULL DEFAULT 'house' REFERENCES mall_merchant_account (id);

-- The order keeps whom it pays, for a product may change hands.
ALTER TABLE mall_order ADD COLUMN merchant_id text NOT NULL DEFAULT 'house';
CREATE INDEX ON mall_order (merchant_id, placed_at);
