//! The real `pigeon-bridge` on real servers with sender checks on, with XMPP sessions as carriers, authors and
//! recipients. Every test runs on both servers, and is named after its server.
#![allow(clippy::unwrap_used, clippy::print_stdout, unreachable_pub, reason = "tests")]

#[path = "../support/mint.rs"]
mod mint;

mod crash;
mod doubt;
mod fallback;
mod forgery;
mod gate;
mod independent;
mod instances;
mod limits;
mod once;
mod operations;
mod pickup;
mod plain;
mod push;
mod registration;
mod reveal;
mod session;
mod trust;
mod world;

/// Makes a test of each function on each server: `prosody::NAME` and `ejabberd::NAME`.
macro_rules! on_both_servers {
    ($($module:ident: $($test:ident),+;)+) => {
        mod prosody {
            on_both_servers!(@on Prosody $($($module $test)+)+);
        }
        mod ejabberd {
            on_both_servers!(@on Ejabberd $($($module $test)+)+);
        }
    };
    (@on $kind:ident $($module:ident $test:ident)+) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $test() {
            crate::$module::$test(pigeon_harness::Kind::$kind).await;
        })+
    };
}

on_both_servers! {
    crash: a_bridge_killed_at_random_points_loses_nothing_and_repeats_only_what_was_in_doubt;
    doubt: what_was_in_doubt_at_a_kill_is_sent_at_the_next_start_without_being_asked, after_a_cut_connection_carriers_get_their_verdicts_without_uploading_again,
        what_the_server_took_just_before_the_connection_ended_is_sent_again_unless_it_has_arrived;
    fallback: without_the_privilege_messages_go_out_unchecked_where_the_operator_has_said_so,
        without_the_privilege_mail_waits_where_the_operator_has_not_said_so;
    forgery: forged_by_an_unregistered_key, forged_with_the_key_of_another_account, forged_by_a_new_route_on_anothers_message, forged_by_replaying_a_route_on_another_message, forged_by_resealing_a_route_that_was_for_another_bridge, forged_by_swapping_the_recipient, foreign_hosts_are_refused_and_only_the_proven_author_hears_of_it, what_is_no_bundle_is_refused;
    independent: the_authors_address_and_id_are_right_for_online_offline_and_archived_recipients,
        a_sender_forged_by_a_client_registers_nobody,
        a_forged_acceptance_does_not_reach_the_carrier_and_suppresses_no_mail;
    instances: a_thousand_messages_by_five_carriers_over_two_instances_arrive_once_though_one_dies;
    limits: an_author_over_the_limit_is_not_answered_and_others_are,
        a_full_bridge_refuses_with_its_reason_until_there_is_room,
        the_largest_bundle_passes_and_what_is_larger_harms_nobody;
    once: three_carriers_with_the_same_messages_make_one_delivery_of_each, several_in_one_message_get_each_a_verdict_of_its_own, a_stripped_or_re_encoded_uplink_block_makes_no_second_delivery;
    operations: sigterm_stops_it_cleanly_and_the_next_start_goes_on, it_comes_back_when_its_server_does,
        status_metrics_and_forget_work_while_it_runs;
    plain: an_ordinary_client_gets_the_text_from_its_author,
        an_operator_can_refuse_to_read_and_the_author_hears_of_it,
        pigeon_send_says_beforehand_that_the_bridge_will_read_it_and_hears_of_its_reading;
    pickup: what_waits_at_another_instance_is_handed_out_too, a_carrier_fetches_what_waits_and_it_waits_on_until_it_has_arrived, a_stolen_token_is_refused, a_token_is_taken_once_also_after_a_crash, an_expired_token_and_one_that_lasts_too_long_are_refused, a_foreign_node_key_is_refused, the_byte_limit_of_token_and_bridge_is_kept, only_the_registered_recipient_can_make_a_token_and_only_its_tags_are_handed_out;
    push: the_servers_own_module_tells_a_push_service_and_nothing_of_the_message;
    registration: a_registration_binds_a_key_to_an_account_until_it_lapses,
        another_key_gives_notice_to_all_clients_and_speaks_when_it_is_over,
        the_registered_keys_signature_passes_an_account_on_at_once,
        a_revoked_key_is_silent_at_once_and_for_good,
        a_recycled_account_name_does_not_inherit_the_old_owners_voice,
        mail_for_a_name_without_an_account_is_refused_and_its_author_hears_of_it;
    reveal: an_upload_of_what_has_arrived_is_answered_with_its_reveal;
    trust: a_delivery_is_the_authors_own_in_every_part, who_carries_a_message_cannot_suppress_it_by_handing_it_in_as_his_own, the_log_names_nobody_and_holds_no_content;
}
