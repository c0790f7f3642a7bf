//! What may be typed after `pigeon`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};
use clap_complete::Shell;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the daemon refused the request
  2  the arguments make no sense
  3  no daemon answers at the socket
  4  permission denied on the socket
  5  no such contact, message or bundle";

/// What every command takes comes after its own options.
const LAST: usize = 1_000;
const EVERYWHERE: &str = "Options of every command";

/// Send and read messages, and look at the bundles a node carries
///
/// A client of the daemon `pigeond` on this machine. Messages leave when the daemon meets a neighbour or
/// reaches the internet; this program only talks to the daemon.
#[derive(Debug, Parser)]
#[command(name = "pigeon", version, after_help = EXIT_CODES, max_term_width = 100)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
pub(super) struct Args {
    /// The daemon's socket [default: $PIGEON_SOCKET, else $XDG_RUNTIME_DIR/pigeon/pigeond.sock, else
    /// /run/pigeon/pigeond.sock]
    #[arg(long, global = true, value_name = "PATH", display_order = LAST, help_heading = EVERYWHERE)]
    pub(super) socket: Option<PathBuf>,

    /// Print JSON: one object for each reply, with the field names of the API
    #[arg(long, global = true, display_order = LAST, help_heading = EVERYWHERE)]
    pub(super) json: bool,

    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show who this node is
    Id,
    /// Show, renew and revoke this node's contact cards, or take in somebody else's
    #[command(subcommand, arg_required_else_help = true)]
    Card(CardCommand),
    /// Meet somebody in person: compare a code on both screens, and have each other's card
    ///
    /// Both run it within two minutes. Each then sees six digits, and says whether they are the same; only then cards
    /// are sent.
    Meet {
        /// The beginning of the other node's key, 4 digits or more, where several nodes are in reach: the other person
        /// sees it when running this, or with `pigeon status`
        #[arg(value_name = "KEY")]
        neighbour: Option<String>,
    },
    /// The XMPP accounts that carry mail up and down
    #[command(subcommand, arg_required_else_help = true)]
    Account(AccountCommand),
    /// Look at the contacts
    #[command(subcommand, arg_required_else_help = true)]
    Contact(ContactCommand),
    /// Send a message: seal it and keep it until somebody can carry it
    Send(SendArgs),
    /// List the messages received
    Inbox {
        /// Only those not read yet
        #[arg(long)]
        unread: bool,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Show a message and mark it as read
    Read {
        /// The message's id, or the first digits of it (4 or more)
        #[arg(value_name = "ID")]
        id: String,
    },
    /// List the messages sent, and how far each has come
    Outbox {
        #[command(flatten)]
        page: PageArgs,
    },
    /// Delete a message received, or one sent that nobody carries any more
    Delete {
        /// The message's id, or the first digits of it (4 or more)
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Take back a message that has not been delivered
    Cancel {
        /// The message's id, or the first digits of it (4 or more)
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Save what is attached to a message
    #[command(subcommand, arg_required_else_help = true)]
    Attachment(AttachmentCommand),
    /// Look at the bundles in the store: own mail and carried mail
    #[command(subcommand, arg_required_else_help = true)]
    Bundles(BundlesCommand),
    /// List the nodes in contact now
    Neighbours,
    /// Show how the daemon is doing
    Status,
    /// Follow what happens, one line for each event
    Watch(WatchArgs),
    /// Look after the data folder of a daemon that is stopped: check, repair, encrypt, export
    #[command(arg_required_else_help = true)]
    Store(StoreArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell to complete in
        shell: Shell,
    },
}

/// Which part of a list of messages.
#[derive(Debug, Default, ClapArgs)]
pub(super) struct PageArgs {
    /// At most so many, the newest
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) limit: u32,
    /// Only those before this message
    #[arg(long, value_name = "ID")]
    pub(super) before: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum AccountCommand {
    /// List the accounts and how they do
    List,
    /// Add an account that exists at its server, and log in
    Add(AccountArgs),
    /// Make a new account at its server, where that allows it, and log in
    Register(AccountArgs),
    /// Log in to an account again
    Login {
        /// Its JID
        jid: String,
        /// Ask for its password, which has changed at the server
        #[arg(long)]
        new_password: bool,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Log out; the account stays on the card, and what is written to it waits
    Logout {
        /// Its JID
        jid: String,
    },
    /// Change an account's password, here and at its server
    Passwd {
        /// Its JID
        jid: String,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Forget an account; it stays at its server
    Remove {
        /// Its JID
        jid: String,
    },
}

#[derive(Debug, ClapArgs)]
pub(super) struct AccountArgs {
    /// Its JID, such as elaine@example.org
    pub(super) jid: String,
    /// The bridge's domain [default: bridge. and the JID's domain]
    #[arg(long, value_name = "DOMAIN")]
    pub(super) bridge: Option<String>,
    /// The server's address [default: the SRV records of the JID's domain]
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) server: Option<String>,
    /// TLS from the first byte in place of STARTTLS
    #[arg(long)]
    pub(super) direct_tls: bool,
    /// Further roots of trust (PEM)
    #[arg(long, value_name = "FILE")]
    pub(super) ca_file: Option<PathBuf>,
    /// The bridge's key in hex [default: the first one seen]
    #[arg(long, value_name = "HEX")]
    pub(super) bridge_key: Option<String>,
    /// Send the password itself, inside TLS, where the server knows nothing better
    #[arg(long)]
    pub(super) allow_plain: bool,
    #[command(flatten)]
    pub(super) password: PasswordArgs,
}

#[derive(Debug, ClapArgs)]
pub(super) struct PasswordArgs {
    /// A file with the password on its first line [default: asked for, or the standard input's first line]
    #[arg(long, value_name = "FILE")]
    pub(super) password_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum CardCommand {
    /// Print this node's card as text and, in a terminal, as a QR code
    Show {
        #[command(flatten)]
        qr: QrArgs,
    },
    /// Add or renew a contact
    Import {
        /// A card's text (pigeon:card:…), a file that holds it, or - for the standard input
        #[arg(value_name = "TEXT|FILE|-")]
        card: String,
    },
    /// List the cards given out: the published one, and those made for one person each
    List,
    /// Publish a new card and send it to the contacts; former ones work until `pigeon card revoke`
    Renew {
        #[command(flatten)]
        qr: QrArgs,
    },
    /// Print a card for one person: revoking it later leaves all others alone
    Issue {
        /// Whom it is for: a contact's name, or any other
        #[arg(long = "for", value_name = "NAME")]
        name: String,
        #[command(flatten)]
        qr: QrArgs,
    },
    /// Revoke the former published cards, or one person's card: no mail by them any more
    Revoke {
        /// Whose card, as `pigeon card list` shows it, or a contact's name [default: former published cards]
        #[arg(long = "for", value_name = "NAME")]
        name: Option<String>,
    },
}

#[derive(Debug, ClapArgs)]
pub(super) struct QrArgs {
    /// Print the QR code even where the output is no terminal
    #[arg(long, conflicts_with = "no_qr")]
    pub(super) qr: bool,
    /// Print the text only
    #[arg(long)]
    pub(super) no_qr: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum ContactCommand {
    /// List the contacts
    List,
    /// Look for somebody's published card
    Search {
        /// The account, such as elaine@example.org
        jid: String,
    },
    /// Ask somebody for a subscription, and take the published card where it may be seen
    Add {
        /// The account, such as elaine@example.org
        jid: String,
    },
    /// List who has asked so
    Requests,
    /// Let somebody see this account's presence and card, and ask for theirs
    Accept {
        /// The account, such as elaine@example.org
        jid: String,
    },
}

#[derive(Debug, ClapArgs)]
pub(super) struct SendArgs {
    /// A contact's name, JID, or identity key (8 digits of it or more)
    pub(super) to: String,
    /// The text; without it, or with -, the standard input to its end. Not needed with --attach
    #[arg(conflicts_with = "lines")]
    pub(super) text: Option<String>,
    /// Attach a file of at most 16 MiB
    #[arg(long, value_name = "FILE", conflicts_with = "lines")]
    pub(super) attach: Option<PathBuf>,
    /// The file's media type, such as image/png [default: by the end of its name]
    #[arg(long, value_name = "TYPE", requires = "attach")]
    pub(super) media_type: Option<String>,
    /// How long the message may travel, in hours, 1 to 720 [default: as the daemon is configured, 168]
    #[arg(long, value_name = "HOURS", value_parser = clap::value_parser!(u32).range(1..=720))]
    pub(super) lifetime: Option<u32>,
    /// Send each line of the standard input as a message of its own
    #[arg(long)]
    pub(super) lines: bool,
    /// Send nothing that the bridge would read for want of a card
    #[arg(long)]
    pub(super) require_e2e: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum AttachmentCommand {
    /// Write the attachment of a message received into a new file
    Save {
        /// The message's id, or the first digits of it (4 or more)
        #[arg(value_name = "ID")]
        id: String,
        /// The file, or a folder for it, or - for the standard output [default: its author's name for it, here]
        file: Option<PathBuf>,
        /// Write over a file that is there
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum BundlesCommand {
    /// List the bundles in the store
    List {
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Go on after this bundle, as the end of a full list says
        #[arg(long, value_name = "ID")]
        after: Option<String>,
    },
    /// Show all that a carrier can see of a bundle
    Show {
        /// The bundle's id, or the first digits of it (8 or more)
        id: String,
        /// Print all bytes, not only the first 480
        #[arg(long)]
        hex: bool,
    },
    /// Show how full the store is
    Stats,
}

#[derive(Debug, ClapArgs)]
pub(super) struct WatchArgs {
    /// First the events after this sequence number that the daemon still has
    #[arg(long, value_name = "N", conflicts_with = "replay")]
    pub(super) since: Option<u64>,
    /// First all events that the daemon still has
    #[arg(long)]
    pub(super) replay: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct StoreArgs {
    /// The daemon's configuration [default: as `pigeond` finds it]
    #[arg(long, value_name = "FILE", global = true)]
    pub(super) config: Option<PathBuf>,
    /// The data folder [default: data_dir in the configuration]
    #[arg(long, value_name = "DIR", global = true)]
    pub(super) data_dir: Option<PathBuf>,
    #[command(subcommand)]
    pub(super) command: StoreCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Show what the store holds and takes
    Stats,
    /// Read everything and say what is damaged; works on a copy, nothing is changed
    Check,
    /// Set aside what is damaged, and repair what can be
    Repair,
    /// Write the store anew: what was deleted leaves the disk. Needs room for a second one meanwhile
    Compact,
    /// Make the encryption what the configuration says, or set another passphrase
    Rekey {
        /// Holds the present passphrase on its first line [default: it is asked for]
        #[arg(long, value_name = "FILE")]
        old_passphrase_file: Option<PathBuf>,
    },
    /// Keep the XMPP account's password, encrypted; it is asked for, or read from the standard input
    Password,
    /// Write the bundles to a folder, such as one on a stick, a file for each
    Export {
        /// The folder; made where it is missing
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
    /// Take in bundle files, or those in a folder, as a stranger's mail
    Import {
        /// Files, or folders of them
        #[arg(value_name = "PATH", required = true)]
        paths: Vec<PathBuf>,
    },
    /// Write identity, contacts, messages and attachments to one new file, encrypted under a passphrase
    Backup {
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Holds its passphrase on its first line [default: it is asked for]
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Make an empty data folder the node of a backup
    Restore {
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Holds its passphrase on its first line [default: it is asked for]
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_holds_together() {
        super::Args::command().debug_assert();
    }
}
