//! The table: every kind of failure, and everything that is decided about it.

use super::{Answer, Owner, Rule};

/// The general authorisation failure, which every driver shows without a retry (Snowflake's own code for a wrong password).
const DENIED: Answer = Answer::Refusal(390_100);
/// Our own code, which collides with none of Snowflake's: the client's key was fine, something behind the gate was not.
const BEHIND: Answer = Answer::Refusal(390_999);

/// Every way to fail. A new kind does not compile before its row is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A login without a credential, or with two different ones.
    KeyMissing,
    /// A credential that is no client key at all, such as a password or a PAT.
    KeyForeign,
    /// A client key whose check digits do not fit: a character was lost or changed.
    KeyDamaged,
    /// A well-formed key of a client that the configuration does not know.
    ClientUnknown,
    /// A well-formed key that is not one of the client's.
    KeyWrong,
    /// The source address is in none of the networks that the client may come from.
    NetworkDenied,
    /// The client has to show a certificate of its own, or to be a program of certain users on this machine.
    PeerDenied,
    /// More logins than a limit allows.
    LoginLimit,
    /// More requests than a limit allows.
    RequestLimit,
    /// More sessions than the client may have.
    SessionLimit,
    /// A login body that cannot be read.
    LoginMalformed,
    /// A login body over the cap, before or after inflating.
    TooLarge,
    /// A request whose body did not arrive within its deadline.
    RequestSlow,
    /// A login by SSO, OAuth, key pair or workload identity.
    AuthenticatorForeign,
    /// A path of the browser or OAuth flows.
    FlowForeign,
    /// A role that the client may not ask for.
    RoleDenied,
    /// A warehouse, database or schema that the client may not ask for.
    ContextDenied,
    /// A renewal that cannot be read.
    RenewalMalformed,
    /// A request without a token that this gate has sealed for such a request.
    SessionUnknown,
    /// A token whose key may be on the ring, which cannot be read at this moment.
    RingAway,
    /// A session that somebody has ended, or whose client may no longer enter.
    SessionEnded,
    /// A session that came from elsewhere than it is bound to.
    SessionElsewhere,
    /// A REST request without a client key as its bearer token.
    BearerMissing,
    /// A REST request that cannot be read.
    RestMalformed,
    /// A path that no driver uses.
    RouteUnknown,
    /// A known path with the wrong method.
    MethodWrong,
    /// CONNECT, a target in absolute form, or not exactly one Host.
    TargetForm,
    /// Too many logins with one credential are waiting for their turn.
    GateBusy,
    /// As many requests are under way at the account as may.
    AccountBusy,
    /// The gate did something it should not.
    GateBroken,
    /// The secrets manager did not answer, and no PAT is in memory.
    StoreUnavailable,
    /// The secrets manager refused, or does not know the secret.
    StoreRefused,
    /// The secret is there and cannot be a PAT.
    SecretUnusable,
    /// Snowflake cannot be reached.
    SnowflakeUnreachable,
    /// Snowflake answers that it cannot serve now.
    SnowflakeBusy,
    /// Snowflake took the request and did not begin to answer in time.
    SnowflakeSilent,
    /// Snowflake, or something in its place, answered with what is no answer to this request.
    SnowflakeGarbled,
    /// Snowflake refused the PAT, and the store has no newer one.
    PatRefused,
    /// Snowflake's network policy refused the gate's address.
    PatPolicy,
    /// Snowflake has locked the service user for a while.
    UserLocked,
}

impl Kind {
    /// All kinds, for tests and for documentation.
    pub const ALL: [Self; 40] = [
        Self::KeyMissing,
        Self::KeyForeign,
        Self::KeyDamaged,
        Self::ClientUnknown,
        Self::KeyWrong,
        Self::NetworkDenied,
        Self::PeerDenied,
        Self::LoginLimit,
        Self::RequestLimit,
        Self::SessionLimit,
        Self::LoginMalformed,
        Self::TooLarge,
        Self::RequestSlow,
        Self::AuthenticatorForeign,
        Self::FlowForeign,
        Self::RoleDenied,
        Self::ContextDenied,
        Self::RenewalMalformed,
        Self::SessionUnknown,
        Self::RingAway,
        Self::SessionEnded,
        Self::SessionElsewhere,
        Self::BearerMissing,
        Self::RestMalformed,
        Self::RouteUnknown,
        Self::MethodWrong,
        Self::TargetForm,
        Self::GateBusy,
        Self::AccountBusy,
        Self::GateBroken,
        Self::StoreUnavailable,
        Self::StoreRefused,
        Self::SecretUnusable,
        Self::SnowflakeUnreachable,
        Self::SnowflakeBusy,
        Self::SnowflakeSilent,
        Self::SnowflakeGarbled,
        Self::PatRefused,
        Self::PatPolicy,
        Self::UserLocked,
    ];

    /// The one table. Unknown client and wrong key say the same, so that nobody can search for names.
    #[rustfmt::skip]
    pub fn rule(self) -> Rule {
        use Answer::{GiveUp, Refusal, Retry, Status};
        use Owner::{Client, Gate, Network, Policy, Snowflake, Store};
        let row = |name, owner, at_login, elsewhere, says, next| Rule { name, owner, at_login, elsewhere, says, next };
        match self {
            Self::KeyMissing => row("key_missing", Client, DENIED, DENIED,
                "the login holds {}",
                "Put your patgate client key, which begins with pgk_, into the tool's password field and nothing else."),
            Self::KeyForeign => row("key_foreign", Client, DENIED, DENIED,
                "the password is not a client key of this gate",
                "Client keys begin with pgk_. Ask the operator of the gate for one; never type a Snowflake password or token here."),
            Self::KeyDamaged => row("key_damaged", Client, DENIED, DENIED,
                "the client key is damaged: its check digits do not fit",
                "Copy the whole key once more, without spaces or line breaks."),
            Self::ClientUnknown => row("client_unknown", Client, DENIED, DENIED,
                "the client key is not known to this gate",
                "Compare it with the key you were given, or ask the operator whether it was replaced."),
            Self::KeyWrong => row("key_wrong", Client, DENIED, DENIED,
                "the client key is not known to this gate",
                "Compare it with the key you were given, or ask the operator whether it was replaced."),
            Self::NetworkDenied => row("network_denied", Network, DENIED, Refusal(390_111),
                "your address {} is not in a network that this client may use",
                "Ask the operator to add it to the client's networks, or connect from a permitted host."),
            Self::PeerDenied => row("peer_denied", Policy, DENIED, Refusal(390_111),
                "this client may not be used like this: {}",
                "Ask the operator of the gate."),
            Self::LoginLimit => row("login_limit", Policy, DENIED, Retry(429, 1),
                "{}",
                "Wait, and let the tool keep its connections instead of opening new ones."),
            Self::RequestLimit => row("request_limit", Policy, Retry(429, 1), Retry(429, 1),
                "{}",
                "Wait; drivers try again by themselves."),
            Self::SessionLimit => row("session_limit", Policy, DENIED, DENIED,
                "this client has {} sessions open, which is as many as it may",
                "Close connections that nobody uses, or ask the operator of the gate."),
            Self::LoginMalformed => row("login_malformed", Client, Refusal(390_400), Refusal(390_400),
                "the login request cannot be read: {}",
                "Check that a Snowflake driver sends it and that nothing between changes it."),
            Self::TooLarge => row("request_too_large", Client, Status(413), Status(413),
                "the request is larger than {}",
                "What a driver sends here is a few KB; look for what sends this."),
            Self::RequestSlow => row("request_slow", Network, Status(408), Status(408),
                "the request did not arrive in time",
                "Look at the network between the tool and the gate."),
            Self::AuthenticatorForeign => row("authenticator_foreign", Client, DENIED, DENIED,
                "this gate does not log in with authenticator {}",
                "Use user name and password, or PROGRAMMATIC_ACCESS_TOKEN, with your patgate client key as password or token."),
            Self::FlowForeign => row("flow_foreign", Client, DENIED, DENIED,
                "single sign-on and OAuth do not go through this gate",
                "Use user name and password, or PROGRAMMATIC_ACCESS_TOKEN, with your patgate client key as password or token."),
            Self::RoleDenied => row("role_denied", Policy, Refusal(390_189), Refusal(390_189),
                "this client may not use the role {}",
                "Take the role out of the tool's settings, or ask the operator of the gate."),
            Self::ContextDenied => row("context_denied", Policy, Refusal(390_201), Refusal(390_201),
                "this client may not use the {}",
                "Take it out of the tool's settings, or ask the operator of the gate."),
            Self::RenewalMalformed => row("renewal_malformed", Client, Refusal(390_400), Refusal(390_400),
                "the renewal of the session cannot be read: {}",
                "Check that a Snowflake driver sends it and that nothing between changes it."),
            Self::SessionUnknown => row("session_unknown", Client, GiveUp, GiveUp,
                "this session is not, or no longer, known to this gate",
                "Open the connection again; give the trace id to the operator if it happens often."),
            Self::RingAway => row("ring_away", Store, Retry(503, 1), Retry(503, 1),
                "the gate cannot read the keys of its sessions at this moment",
                "Try again; give the trace id to the operator if it lasts."),
            Self::SessionEnded => row("session_ended", Policy, Refusal(390_111), Refusal(390_111),
                "the operator of the gate has ended this session",
                "Open the connection again; if that is refused too, ask the operator."),
            Self::SessionElsewhere => row("session_elsewhere", Policy, Refusal(390_111), Refusal(390_111),
                "this session was opened elsewhere and may not be used from here",
                "Open a connection of your own; give the trace id to the operator if nobody has copied anything."),
            Self::BearerMissing => row("bearer_missing", Client, DENIED, DENIED,
                "the request has no client key of this gate",
                "Send `Authorization: Bearer` and your patgate client key, which begins with pgk_."),
            Self::RestMalformed => row("rest_malformed", Client, Refusal(390_400), Refusal(390_400),
                "the request cannot be read: {}",
                "Look at what sends it, and at what stands between."),
            Self::RouteUnknown => row("route_unknown", Client, Status(404), Status(404),
                "this path is not part of Snowflake's driver protocol",
                "Point a Snowflake driver here, not a browser."),
            Self::MethodWrong => row("method_wrong", Client, Status(405), Status(405),
                "this path is not used with this method",
                "Point a Snowflake driver here, not a browser."),
            Self::TargetForm => row("target_form", Client, Status(421), Status(421),
                "this gate is no forward proxy and takes one Host",
                "Take the gate out of the tool's proxy settings and enter it as the server."),
            Self::GateBusy => row("gate_busy", Gate, Retry(503, 5), Retry(503, 5),
                "more logins are waiting for this gate than Snowflake answers",
                "Try again; let tools keep their connections, or ask the operator for a second credential."),
            Self::AccountBusy => row("account_busy", Policy, Retry(503, 1), Retry(503, 1),
                "as many requests are under way at Snowflake as this gate may have there",
                "Try again; ask the operator of the gate whether that is enough."),
            Self::GateBroken => row("gate_broken", Gate, BEHIND, Retry(503, 1),
                "the gate failed inside",
                "Give the trace id to the operator."),
            Self::StoreUnavailable => row("store_unavailable", Store, BEHIND, BEHIND,
                "your key is fine, but the gate cannot reach the secrets manager that holds the Snowflake token",
                "Give the trace id to the operator; the gate keeps trying."),
            Self::StoreRefused => row("store_refused", Store, BEHIND, BEHIND,
                "your key is fine, but the secrets manager does not give the gate the Snowflake token",
                "Give the trace id to the operator: the reference or the gate's rights in the store need a look."),
            Self::SecretUnusable => row("secret_unusable", Store, BEHIND, BEHIND,
                "your key is fine, but what the secrets manager holds is not a usable Snowflake token",
                "Give the trace id to the operator: the secret's form needs a look."),
            Self::SnowflakeUnreachable => row("snowflake_unreachable", Snowflake, BEHIND, Retry(503, 2),
                "your key is fine, but the gate cannot reach Snowflake",
                "Give the trace id to the operator; the gate keeps trying."),
            Self::SnowflakeBusy => row("snowflake_busy", Snowflake, Retry(503, 5), Retry(503, 5),
                "Snowflake answers that it cannot serve now",
                "Try again; look at Snowflake's status page if it lasts."),
            Self::SnowflakeSilent => row("snowflake_silent", Snowflake, BEHIND, Retry(504, 2),
                "Snowflake took the request and did not answer in time",
                "Try again; give the trace id to the operator if it lasts."),
            Self::SnowflakeGarbled => row("snowflake_garbled", Snowflake, BEHIND, Retry(502, 2),
                "what answered in Snowflake's place did not speak its protocol",
                "Give the trace id to the operator: a proxy or a wrong address may stand between gate and Snowflake."),
            Self::PatRefused => row("pat_refused", Snowflake, BEHIND, BEHIND,
                "your key is fine, but Snowflake refuses the token that the gate holds, and no newer one is in the secrets manager",
                "Give the trace id to the operator: the programmatic access token has expired, is disabled or needs rotation."),
            Self::PatPolicy => row("pat_policy", Policy, BEHIND, BEHIND,
                "your key is fine, but a Snowflake network policy refuses the gate",
                "Give the trace id to the operator: the service user's network policy must list the gate's egress address."),
            Self::UserLocked => row("user_locked", Snowflake, BEHIND, BEHIND,
                "your key is fine, but Snowflake has locked the service user for a while",
                "Wait 15 minutes; give the trace id to the operator."),
        }
    }
}
