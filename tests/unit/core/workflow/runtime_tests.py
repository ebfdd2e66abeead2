"""Which run-time test covers which path of the language. Files are below tests/."""

from collections.abc import Mapping

JOINS = "unit/scheduler/test_joins_and_branches.py"
FAILURES = "unit/scheduler/test_failures_and_retries.py"
SUSPEND = "unit/scheduler/test_suspend_and_repair.py"
HEARTBEAT = "unit/scheduler/test_heartbeat.py"
ESCALATION = "unit/language/test_escalation.py"
WAITING = "unit/scheduler/test_waiting_people_children_items.py"
EVENTS = "unit/scheduler/test_signals_and_events.py"
RETRY = "unit/core/test_retry_policy.py"
QUEUE = "unit/scheduler/test_fair_queue.py"
COMPILE = "unit/core/workflow/test_compile.py"
INPUTS = "unit/core/workflow/test_inputs.py"
TABLES = "unit/core/workflow/test_joins.py"
KEYWORDS = "unit/language/test_keywords.py"
COMPENSATION = "unit/language/test_compensation.py"
OTHERS = "unit/language/test_cancel_others.py"
DETACHED = "unit/language/test_detached_flows.py"
SCHEDULES = "simulation/test_schedules.py"
REPEATS = "unit/language/test_repeats.py"
GROUPS = "unit/language/test_groups.py"
RATES = "unit/scheduler/test_rate_limit.py"
CONCURRENCY = "unit/scheduler/test_concurrency.py"
SUBJECTS = "unit/scheduler/test_subjects.py"
WEBHOOKS = "integration/api_gateway/test_webhooks.py"
TRIGGERED = "unit/scheduler/test_event_triggers.py"

_TESTS: Mapping[tuple[str, str], tuple[str, ...]] = {
    (
        SUBJECTS,
        "test_everything_of_a_run_is_sealed_under_its_data_subject_s_key",
    ): ("subject",),
    (
        JOINS,
        "test_a_chain_runs_in_order_and_its_fold_is_the_live_state",
    ): (
        "steps",
        "steps.*",
        "steps.*.join",
        "steps.*.join=all",
        "steps.*.needs",
        "steps.*.needs[]",
        "steps.*.uses",
    ),
    (
        JOINS,
        "test_a_switch_takes_the_first_case_that_holds_and_the_other_branch_is_not_taken",
    ): (
        "steps.*.join=any",
        "steps.*.switch",
        "steps.*.switch[]",
        "steps.*.switch[].port",
        "steps.*.switch[].when",
    ),
    (
        JOINS,
        "test_a_condition_that_does_not_hold_skips_the_step_and_what_depends_on_it",
    ): (
        "steps.*.join=always",
        "steps.*.when",
    ),
    (
        JOINS,
        "test_at_least_two_of_three_runs_once_and_only_once",
    ): ("steps.*.join.at_least",),
    (
        JOINS,
        "test_a_caught_failure_goes_to_the_error_edge_and_does_not_fail_the_run",
    ): (
        "steps.*.on_error",
        "steps.*.on_error=catch",
    ),
    (
        JOINS,
        "test_an_error_edge_routes_and_the_failure_still_counts",
    ): ("steps.*.on_error=fail",),
    (
        FAILURES,
        "test_on_error_gives_an_output_and_the_step_has_recovered",
    ): ("steps.*.on_error.output",),
    (
        JOINS,
        "test_set_keeps_types_and_later_steps_of_the_same_turn_see_it",
    ): (
        "outputs",
        "steps.*.set",
    ),
    (
        FAILURES,
        "test_drain_finishes_what_can_still_run_and_then_fails",
    ): (
        "on_failure",
        "on_failure=drain",
    ),
    (
        FAILURES,
        "test_on_failure_cancel_stops_the_others_but_not_what_handles_errors",
    ): ("on_failure=cancel",),
    (
        SUSPEND,
        "test_the_same_run_goes_on_when_the_failed_step_is_tried_again",
    ): ("on_failure=suspend",),
    (
        DETACHED,
        "test_a_detached_flow_is_started_and_not_waited_for",
    ): ("steps.*.mode=detach",),
    (
        OTHERS,
        "test_the_first_to_succeed_cancels_the_others_and_the_run_succeeds",
    ): ("steps.*.cancel_others",),
    (
        COMPENSATION,
        "test_what_succeeded_is_undone_in_reverse_order_of_completion",
    ): (
        "on_failure=compensate",
        "steps.*.compensate",
        "steps.*.compensate.uses",
        "steps.*.compensate.with",
    ),
    (
        COMPENSATION,
        "test_undoing_has_its_own_retry_and_the_next_one_waits_for_it",
    ): (
        "steps.*.compensate.retry",
        "steps.*.compensate.retry.backoff",
        "steps.*.compensate.retry.backoff.factor",
        "steps.*.compensate.retry.backoff.initial",
        "steps.*.compensate.retry.backoff.jitter",
        "steps.*.compensate.retry.backoff.jitter=equal",
        "steps.*.compensate.retry.backoff.jitter=full",
        "steps.*.compensate.retry.backoff.jitter=none",
        "steps.*.compensate.retry.backoff.max",
        "steps.*.compensate.retry.max_attempts",
        "steps.*.compensate.retry.not_on",
        "steps.*.compensate.retry.not_on[]",
        "steps.*.compensate.retry.on",
        "steps.*.compensate.retry.on[]",
    ),
    (
        FAILURES,
        "test_fallback_entries_are_tried_in_turn_and_an_output_ends_the_matter",
    ): (
        "steps.*.fallback",
        "steps.*.fallback[]",
        "steps.*.fallback[].output",
        "steps.*.fallback[].uses",
    ),
    (
        FAILURES,
        "test_the_policy_ends_after_its_attempts_and_delays_grow",
    ): (
        "steps.*.retry",
        "steps.*.retry.backoff",
        "steps.*.retry.backoff.factor",
        "steps.*.retry.backoff.initial",
        "steps.*.retry.backoff.jitter",
        "steps.*.retry.backoff.jitter=none",
        "steps.*.retry.max_attempts",
    ),
    (
        RETRY,
        "test_a_delay_is_within_its_bounds_and_equal_on_replay",
    ): (
        "steps.*.retry.backoff.jitter=equal",
        "steps.*.retry.backoff.jitter=full",
        "steps.*.retry.backoff.max",
    ),
    (
        RETRY,
        "test_only_what_the_policy_names_is_retried_and_never_what_it_excludes",
    ): (
        "steps.*.retry.not_on",
        "steps.*.retry.not_on[]",
        "steps.*.retry.on",
        "steps.*.retry.on[]",
    ),
    (
        FAILURES,
        "test_the_deadline_over_all_attempts_ends_a_waiting_step",
    ): ("steps.*.deadline",),
    (
        HEARTBEAT,
        "test_a_silent_attempt_fails_and_another_one_follows",
    ): ("steps.*.heartbeat",),
    (
        ESCALATION,
        "test_people_are_added_in_turn_and_any_of_them_decides",
    ): (
        "steps.*.approval.escalate",
        "steps.*.approval.escalate[]",
        "steps.*.approval.escalate[].after",
        "steps.*.approval.escalate[].to",
        "steps.*.approval.escalate[].to[]",
        "steps.*.approval.escalate[].via",
        "steps.*.approval.escalate[].via[]",
    ),
    (
        WAITING,
        "test_the_run_timeout_cancels_and_the_run_fails_with_it",
    ): ("timeout",),
    (
        WAITING,
        "test_a_wait_ends_at_its_time_and_the_run_waits_meanwhile",
    ): (
        "steps.*.wait",
        "steps.*.wait.for",
    ),
    (
        WAITING,
        "test_a_wait_until_a_time_that_has_passed_is_over_at_once",
    ): ("steps.*.wait.until",),
    (
        EVENTS,
        "test_a_run_waits_for_the_event_of_its_key_and_goes_on_with_its_content",
    ): (
        "steps.*.wait.event",
        "steps.*.wait.event.key",
        "steps.*.wait.event.topic",
    ),
    (
        EVENTS,
        "test_an_event_that_does_not_match_is_passed_over_and_so_is_one_that_cannot_be_judged",
    ): ("steps.*.wait.event.match",),
    (
        EVENTS,
        "test_an_event_that_came_early_is_kept_for_as_long_as_the_step_says",
    ): ("steps.*.wait.event.keep",),
    (
        EVENTS,
        "test_a_wait_that_expires_takes_that_port_and_hears_of_no_event_any_more",
    ): ("steps.*.wait.expires",),
    (
        WAITING,
        "test_the_first_decision_of_an_approval_wins",
    ): (
        "steps.*.approval",
        "steps.*.approval.assignees",
        "steps.*.approval.assignees[]",
    ),
    (
        WAITING,
        "test_an_approval_that_expires_takes_the_port_it_names",
    ): (
        "steps.*.approval.expires",
        "steps.*.approval.on_expire",
        "steps.*.approval.on_expire=approved",
    ),
    (
        WAITING,
        "test_items_open_under_max_parallel_and_outputs_keep_the_input_order",
    ): (
        "steps.*.foreach",
        "steps.*.foreach.as",
        "steps.*.foreach.in",
        "steps.*.foreach.max_parallel",
    ),
    (
        WAITING,
        "test_filtered_items_do_not_exist",
    ): ("steps.*.foreach.where",),
    (
        WAITING,
        "test_two_items_with_one_key_fail_the_step",
    ): ("steps.*.foreach.key",),
    (
        WAITING,
        "test_tolerated_failures_only_count_and_one_more_starts_no_new_item",
    ): (
        "steps.*.foreach.tolerate",
        "steps.*.foreach.tolerate.failures",
    ),
    (
        WAITING,
        "test_a_tolerated_share_is_of_all_items_and_one_failure_more_fails_the_step",
    ): ("steps.*.foreach.tolerate.percent",),
    (
        QUEUE,
        "test_priorities_go_first_inside_a_tenant_and_order_of_arrival_inside_a_priority",
    ): ("steps.*.priority",),
    (
        WAITING,
        "test_a_sub_flow_is_started_by_message_and_its_answer_ends_the_step",
    ): (
        "steps.*.mode",
        "steps.*.mode=wait",
    ),
    (
        COMPILE,
        "test_a_default_policy_is_that_of_every_step_that_states_none",
    ): (
        "defaults",
        "defaults.retry",
        "defaults.retry.backoff",
        "defaults.retry.backoff.factor",
        "defaults.retry.backoff.initial",
        "defaults.retry.backoff.jitter",
        "defaults.retry.backoff.jitter=equal",
        "defaults.retry.backoff.jitter=full",
        "defaults.retry.backoff.jitter=none",
        "defaults.retry.backoff.max",
        "defaults.retry.max_attempts",
        "defaults.retry.not_on",
        "defaults.retry.not_on[]",
        "defaults.retry.on",
        "defaults.retry.on[]",
    ),
    (
        COMPILE,
        "test_the_head_of_a_flow_names_it_and_may_describe_it",
    ): (
        "description",
        "flow",
        "flow=v1",
        "name",
        "tags",
        "title",
    ),
    (
        INPUTS,
        "test_good_inputs_come_back_with_their_defaults",
    ): (
        "inputs",
        "inputs.*",
    ),
    (
        TABLES,
        "test_a_join_follows_the_table",
    ): ("steps.*.join=settled",),
    (
        KEYWORDS,
        "test_an_approval_shows_its_title_with_the_values_of_the_run",
    ): ("steps.*.approval.title",),
    (
        KEYWORDS,
        "test_an_approval_hands_its_form_to_the_people_and_what_they_fill_in_to_the_flow",
    ): ("steps.*.approval.form",),
    (
        KEYWORDS,
        "test_an_approval_nobody_decided_takes_the_port_for_silence_and_no_other",
    ): (
        "steps.*.approval.on_expire=expired",
        "steps.*.approval.on_expire=rejected",
    ),
    (
        KEYWORDS,
        "test_an_approval_without_a_title_shows_that_of_the_step_and_without_that_its_name",
    ): ("steps.*.title",),
    (
        KEYWORDS,
        "test_fail_fails_the_run_with_its_type_and_its_message",
    ): (
        "steps.*.fail",
        "steps.*.fail.message",
        "steps.*.fail.type",
    ),
    (
        KEYWORDS,
        "test_arguments_keep_their_types_and_become_text_only_inside_of_text",
    ): ("steps.*.with",),
    (
        KEYWORDS,
        "test_a_fallback_call_has_arguments_of_its_own",
    ): ("steps.*.fallback[].with",),
    (
        KEYWORDS,
        "test_a_key_is_the_same_for_all_attempts_of_a_step",
    ): ("steps.*.idempotency_key",),
    (
        KEYWORDS,
        "test_an_attempt_carries_its_limit_and_the_defaults_hold_where_none_is_said",
    ): (
        "defaults.timeout",
        "steps.*.timeout",
    ),
    (
        KEYWORDS,
        "test_a_sensitive_step_shows_neither_output_nor_message_and_the_others_do",
    ): ("steps.*.sensitive",),
    (
        KEYWORDS,
        "test_constants_are_known_by_name_with_their_types",
    ): ("vars",),
    (
        KEYWORDS,
        "test_a_trigger_maps_what_came_to_inputs_and_is_known_to_the_run",
    ): (
        "triggers",
        "triggers.*",
        "triggers.*.schedule",
        "triggers.*.schedule.every",
        "triggers.*.with",
    ),
    (
        WEBHOOKS,
        "test_a_signed_request_starts_a_run_with_what_the_trigger_maps",
    ): (
        "triggers.*.webhook",
        "triggers.*.webhook.path",
        "triggers.*.webhook.respond",
        "triggers.*.webhook.respond=accepted",
        "triggers.*.webhook.secret",
        "triggers.*.webhook.verify",
        "triggers.*.webhook.verify=standard-webhooks",
    ),
    (
        TRIGGERED,
        "test_an_event_starts_each_flow_whose_trigger_it_meets",
    ): ("triggers.*.event", "triggers.*.event.topic"),
    (
        TRIGGERED,
        "test_an_event_that_does_not_match_starts_nothing_and_one_that_cannot_be_judged_neither",
    ): ("triggers.*.event.match",),
    (
        WEBHOOKS,
        "test_an_hmac_and_a_bearer_are_believed",
    ): (
        "triggers.*.webhook.verify=bearer",
        "triggers.*.webhook.verify=hmac",
    ),
    (
        WEBHOOKS,
        "test_dedupe_says_which_requests_are_one",
    ): (
        "triggers.*.webhook.dedupe",
        "triggers.*.webhook.verify=none",
    ),
    (
        WEBHOOKS,
        "test_respond_result_answers_with_what_the_run_gave",
    ): ("triggers.*.webhook.respond=result",),
    (
        SCHEDULES,
        "test_a_cron_schedule_fires_at_its_times_in_its_time_zone",
    ): (
        "triggers.*.schedule.cron",
        "triggers.*.schedule.timezone",
    ),
    (
        SCHEDULES,
        "test_firings_overlap_where_nothing_is_said",
    ): (
        "triggers.*.schedule.overlap",
        "triggers.*.schedule.overlap=allow",
    ),
    (
        SCHEDULES,
        "test_skip_drops_the_firings_that_find_a_run_open",
    ): ("triggers.*.schedule.overlap=skip",),
    (
        SCHEDULES,
        "test_queue_starts_each_firing_when_the_run_before_it_has_ended",
    ): ("triggers.*.schedule.overlap=queue",),
    (
        SCHEDULES,
        "test_cancel_running_lets_the_newest_firing_take_the_place",
    ): ("triggers.*.schedule.overlap=cancel_running",),
    (
        SCHEDULES,
        "test_after_an_outage_the_missed_firings_go_by_catchup",
    ): (
        "triggers.*.schedule.catchup",
        "triggers.*.schedule.catchup=all",
        "triggers.*.schedule.catchup=last",
        "triggers.*.schedule.catchup=none",
    ),
    (
        KEYWORDS,
        "test_a_manual_start_is_no_firing_and_has_no_time",
    ): ("triggers.*.manual",),
    (
        REPEATS,
        "test_a_step_is_repeated_until_its_condition_holds_and_each_pass_is_logged",
    ): (
        "steps.*.repeat",
        "steps.*.repeat.until",
    ),
    (
        REPEATS,
        "test_passes_that_never_get_there_fail_the_step_after_the_last_one_allowed",
    ): ("steps.*.repeat.max",),
    (
        REPEATS,
        "test_a_delay_stands_between_two_passes_and_the_run_waits_meanwhile",
    ): ("steps.*.repeat.delay",),
    (
        GROUPS,
        "test_a_group_gives_what_its_outputs_say_of_the_steps_inside",
    ): (
        "steps.*.group",
        "steps.*.group.*",
        "steps.*.outputs",
    ),
    (
        RATES,
        "test_no_more_calls_than_the_limit_begin_in_any_time_of_that_length",
    ): (
        "steps.*.rate_limit",
        "steps.*.rate_limit.key",
        "steps.*.rate_limit.limit",
        "steps.*.rate_limit.per",
    ),
    (
        CONCURRENCY,
        "test_runs_of_one_key_wait_for_their_turn_and_go_in_the_order_of_asking",
    ): (
        "concurrency",
        "concurrency.key",
        "concurrency.limit",
        "concurrency.on_conflict",
        "concurrency.on_conflict=queue",
    ),
    (
        CONCURRENCY,
        "test_a_run_beyond_the_limit_is_skipped_and_says_why",
    ): ("concurrency.on_conflict=skip",),
    (
        CONCURRENCY,
        "test_the_newest_run_takes_the_place_of_the_oldest_once_that_has_ended",
    ): ("concurrency.on_conflict=cancel_running",),
}

COVERED_BY: Mapping[str, str] = {
    path: f"{file}::{name}" for (file, name), paths in _TESTS.items() for path in paths
}
