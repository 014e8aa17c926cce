-- Only what the buyer has paid is due to the merchant; what was released never is.
DROP INDEX mall_order_merchant_id_placed_at_idx;
CREATE INDEX ON mall_order (merchant_id, placed_at) WHERE settled_on IS NULL AND status = 'paid';
