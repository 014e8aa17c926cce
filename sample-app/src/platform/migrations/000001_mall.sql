CREATE TABLE mall_product (
  sku text PRIMARY KEY,
  name text NOT NULL,
  price_cents integer NOT NULL CHECK (price_cents >= 0)
);

-- The last guard of the shelf: whatever fails above, stock is never sold twice.
CREATE TABLE mall_stock (
  sku text PRIMARY KEY REFERENCES mall_product (sku),
  qty integer NOT NULL CHECK (qty >= 0)
);

-- The last guard of the order: one row a request, whatever is repeated above.
CREATE TABLE mall_order (
  id uuid PRIMARY KEY,
  buyer_id text NOT NULL,
  request_id text NOT NULL,
  sku text NOT NULL REFERENCES mall_product (sku),
  qty integer NOT NULL CHECK (qty > 0),
  total_cents integer NOT NULL,
  placed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  UNIQUE (buyer_id, request_id)
);

-- The last guard of the points: one entry an order.
CREATE TABLE mall_points_entry (
  order_id uuid PRIMARY KEY,
  buyer_id text NOT NULL,
  points integer NOT NULL,
  granted_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON mall_points_entry (buyer_id);
