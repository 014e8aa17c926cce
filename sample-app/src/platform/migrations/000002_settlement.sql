-- What the merchants have earned. The fence refuses whoever settles under a lock that has passed on.
CREATE TABLE mall_merchant_account (
  id text PRIMARY KEY,
  cents bigint NOT NULL DEFAULT 0 CHECK (cents >= 0),
  settled_through date NOT NULL DEFAULT '1970-01-01',
  fence bigint NOT NULL DEFAULT 0
);
INSERT INTO mall_merchant_account (id) VALUES ('house');

ALTER TABLE mall_product ADD COLUMN merchant_id text NOT NULL DEFAULT 'house' REFERENCES mall_merchant_account (id);

-- The order keeps whom it pays, for a product may change hands. The last guard of the money: an order that has a day in
-- settled_on was paid with the days up to it. It is marked by itself and not with its day, for it may commit after that
-- day was settled.
ALTER TABLE mall_order ADD COLUMN merchant_id text NOT NULL DEFAULT 'house', ADD COLUMN settled_on date;
CREATE INDEX ON mall_order (merchant_id, placed_at) WHERE settled_on IS NULL;
