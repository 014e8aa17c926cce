-- Each check finds what is due for it, and how long that has been, without walking over what waits for others; and a page of
-- what is parked is found without the rest of it.
ALTER TABLE lockstep_outbox_prepared
  ADD KEY IF NOT EXISTS lockstep_outbox_prepared_checks (state, checker, next_check_at),
  ADD KEY IF NOT EXISTS lockstep_outbox_prepared_state (state, id),
  DROP KEY IF EXISTS lockstep_outbox_prepared_due;
