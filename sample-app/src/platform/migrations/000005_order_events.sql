ALTER TABLE mall_order ADD COLUMN status text NOT NULL DEFAULT 'placed' CHECK (status IN ('placed', 'paid', 'released'));

-- What the warehouse does with the pieces of an order: laid aside, packed, or back on the shelf.
CREATE TABLE mall_pick (
  order_id uuid PRIMARY KEY,
  sku text NOT NULL REFERENCES mall_product (sku),
  qty integer NOT NULL CHECK (qty > 0),
  status text NOT NULL CHECK (status IN ('laid-aside', 'packed', 'back'))
);

-- The last guard of the coupons: one an order.
CREATE TABLE mall_coupon (
  order_id uuid PRIMARY KEY,
  buyer_id text NOT NULL,
  cents integer NOT NULL CHECK (cents > 0)
);
CREATE INDEX ON mall_coupon (buyer_id);
