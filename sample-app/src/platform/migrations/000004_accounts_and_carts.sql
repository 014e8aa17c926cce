-- Who has an account. The id is what orders and sessions know a customer by.
CREATE TABLE mall_customer (
  id uuid PRIMARY KEY,
  name text NOT NULL UNIQUE,
  password_hash text NOT NULL
);

-- The carts, where there is no Redis.
CREATE TABLE mall_cart (
  customer_id text PRIMARY KEY,
  lines jsonb NOT NULL DEFAULT '{}',
  changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Changes of carts that must not be made twice, for as long as they may be tried again.
CREATE TABLE mall_cart_change (
  customer_id text NOT NULL,
  name text NOT NULL,
  made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (customer_id, name)
);
