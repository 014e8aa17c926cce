-- Each check finds what is due for it, and how long that has been, without walking over what waits for others.
CREATE INDEX lockstep_outbox_prepared_checks ON lockstep_outbox_prepared (checker, next_check_at) WHERE state = 'prepared';
DROP INDEX lockstep_outbox_prepared_due;
