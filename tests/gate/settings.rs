//! The configuration of a world as values: the base of every world, and the changes of the tests.

use std::path::Path;
use std::sync::Arc;

use ipnet::IpNet;
use patgate::internal::admit::key::ClientKey;
use patgate::internal::base::names::{ClientName, LoginRefs, SecretRef, SecretRefs};
use patgate::internal::base::secret::Secret;
use patgate::internal::config::units::{self, Rate};
use patgate::internal::config::{Account, Client, Config, Credential, KeyPair, Listen, file};
use patgate::internal::standin::StandIn;

/// The base of every world. It is text, so that all other keys have the product's defaults.
const BASE: &str = "
[listen]
address = '127.0.0.1:0'
certificate = 'server.pem'
key = 'server.key'
workers = 1
[admin]
address = '127.0.0.1:0'
[accounts.prod]
host = 'localhost'
ca = 'ca.pem'
name = 'myorg-prod'
[stores.local.file]
path = '.'
[credentials.powerbi]
account = 'prod'
user = 'BI_SERVICE'
pat = 'local:pat'
[clients.bi]
credential = 'powerbi'
keys = ['sha256:0000000000000000000000000000000000000000000000000000000000000000']
";

/// The base configuration of a world in this directory, before this stand-in, for the client with this key.
pub fn base(home: &Path, standin: &StandIn, key: &Secret) -> Config {
    let mut config = parsed(home);
    config.prod().address = Some(standin.address.to_string());
    config.bi().keys = vec![hash(key)];
    config
}

fn parsed(home: &Path) -> Config {
    file::parse(&home.join("patgate.toml"), BASE).unwrap_or_else(|report| panic!("{report}")).0
}

/// A change of a configuration, in a list of several.
pub type Change<'a> = &'a dyn Fn(&mut Config);

/// The parts of a configuration by their names, and more of them.
pub trait Settings {
    fn bi(&mut self) -> &mut Client;
    fn powerbi(&mut self) -> &mut Credential;
    fn prod(&mut self) -> &mut Account;
    /// The certificate and the key of `[listen]`.
    fn pair(&mut self) -> &mut KeyPair;
    /// Another client of the same credential, with the same networks and without a key.
    fn add_client(&mut self, name: &str) -> &mut Client;
    /// Another credential with the same user and the same PAT.
    fn add_credential(&mut self, name: &str) -> &mut Credential;
    /// Another account, with its own stand-in.
    fn add_account(&mut self, name: &str, standin: &StandIn) -> &mut Account;
    /// Another store of files, in that directory.
    fn add_files(&mut self, name: &str, directory: &Path);
    /// Another listener like the first.
    fn add_listener(&mut self, name: &str) -> &mut Listen;
    /// No login, and no request, waits at a limit.
    fn never_wait(&mut self);
}

impl Settings for Config {
    fn bi(&mut self) -> &mut Client {
        self.clients.get_mut(&client_name("bi")).unwrap()
    }

    fn powerbi(&mut self) -> &mut Credential {
        self.credentials.get_mut("powerbi").unwrap()
    }

    fn prod(&mut self) -> &mut Account {
        self.accounts.get_mut("prod").unwrap()
    }

    fn pair(&mut self) -> &mut KeyPair {
        self.listen.tls.as_mut().unwrap()
    }

    fn add_client(&mut self, name: &str) -> &mut Client {
        let client = Client {
            keys: Vec::new(),
            certificates: Vec::new(),
            trust_loopback: false,
            login_names: Vec::new(),
            users: Vec::new(),
            listeners: Vec::new(),
            pins: Default::default(),
            query_tag: false,
            sql: Default::default(),
            bind: Default::default(),
            limits: Default::default(),
            ..self.bi().clone()
        };
        self.clients.entry(client_name(name)).insert_entry(client).into_mut()
    }

    fn add_credential(&mut self, name: &str) -> &mut Credential {
        let credential = Credential { pins: Default::default(), ..self.powerbi().clone() };
        self.credentials.entry(name.into()).insert_entry(credential).into_mut()
    }

    fn add_account(&mut self, name: &str, standin: &StandIn) -> &mut Account {
        let account =
            Account { address: Some(standin.address.to_string()), name: name.to_owned(), ..self.prod().clone() };
        self.accounts.entry(name.into()).insert_entry(account).into_mut()
    }

    fn add_files(&mut self, name: &str, directory: &Path) {
        self.stores.insert(name.into(), parsed(directory).stores["local"].clone());
    }

    fn add_listener(&mut self, name: &str) -> &mut Listen {
        let listener = Listen { name: name.into(), ..self.listen.clone() };
        self.listeners.entry(name.into()).insert_entry(listener).into_mut()
    }

    fn never_wait(&mut self) {
        (self.limits.wait, self.limits.delay) = (std::time::Duration::ZERO, std::time::Duration::ZERO);
    }
}

pub fn client_name(name: &str) -> ClientName {
    ClientName::parse(name).unwrap()
}

/// The hash of a client key for the configuration.
pub fn hash(key: &Secret) -> [u8; 32] {
    ClientKey::parse(key).unwrap_or_else(|_| panic!("it is no key")).hash
}

pub fn reference(text: &str) -> LoginRefs {
    LoginRefs::Pat(SecretRefs::new(vec![SecretRef::parse(text).unwrap()]).unwrap())
}

/// A key pair, and the passphrase of an encrypted one.
pub fn key_pair(key: &str, passphrase: Option<&str>) -> LoginRefs {
    let LoginRefs::Pat(key) = reference(key) else { panic!() };
    LoginRefs::KeyPair(key, passphrase.map(|text| SecretRef::parse(text).unwrap()))
}

pub fn rates<const N: usize>(all: [&str; N]) -> Arc<[Rate]> {
    all.iter().map(|text| units::rate(text).unwrap()).collect()
}

pub fn networks<const N: usize>(all: [&str; N]) -> Vec<IpNet> {
    let one = |text: &&str| text.parse().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from)).unwrap();
    all.iter().map(one).collect()
}

/// A pin to one of several names.
pub fn one_of<const N: usize>(all: [&str; N]) -> patgate::internal::base::pins::Pin {
    patgate::internal::base::pins::Pin::OneOf(all.map(str::to_owned).into())
}

/// A pin to one name.
pub fn fixed(name: &str) -> patgate::internal::base::pins::Pin {
    patgate::internal::base::pins::Pin::Fixed(name.into())
}
