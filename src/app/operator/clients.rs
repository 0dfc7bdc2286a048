//! Which clients have logged in with which version of a PAT, from the history.

use super::Operator;
use crate::app::answers::ClientLogin;
use crate::app::way_in::WayIn;
use crate::base::epoch::EpochMillis;
use crate::telemetry::history::Reader;
use crate::telemetry::story::Story;

impl Operator {
    /// What tools have to be told to reach the gate as a client; `None` if it has no such client.
    pub fn way_in(&self, client: &str) -> Option<WayIn> {
        WayIn::of(&self.generation().config, &self.running.listeners, client)
    }

    /// The last login of every client, by credential; without a history only the sessions are known.
    pub async fn clients(&self) -> Vec<ClientLogin> {
        let generation = self.generation();
        let current = |credential: &str, pats: &[crate::pat::PatStatus]| {
            let found = pats.iter().find(|one| one.credential == credential);
            found.and_then(|one| one.cached.as_ref()).map(|cached| cached.id.to_string())
        };
        let pats = generation.pats.status().await;
        let clients: Vec<_> =
            generation.config.clients.iter().map(|(name, one)| (one.credential.clone(), name.to_string())).collect();
        let names = clients.iter().map(|(_, client)| client.clone()).collect();
        let logins = self.last_logins(names).await;
        let sessions: Vec<_> = self.sealed().map(|sessions| sessions.list()).unwrap_or_default();
        let of = |((credential, client), login): ((std::sync::Arc<str>, String), Option<Story>)| {
            let version = login.as_ref().and_then(|login| login.pat.clone());
            ClientLogin {
                current: version.is_some() && version == current(&credential, &pats),
                sessions: sessions.iter().filter(|(_, live, _)| live.client.as_str() == client).count(),
                at: login.as_ref().map(|login| login.at.to_system_time()),
                tool: login.and_then(|login| login.login.and_then(|login| login.application.or(login.driver))),
                credential: credential.to_string(),
                version,
                client,
            }
        };
        let mut all: Vec<_> = clients.into_iter().zip(logins).map(of).collect();
        all.sort_by(|one, two| (&one.credential, &one.client).cmp(&(&two.credential, &two.client)));
        all
    }

    async fn last_logins(&self, clients: Vec<String>) -> Vec<Option<Story>> {
        let services = &self.generations.services;
        let now = EpochMillis::of(services.env.clock.wall());
        let none = vec![None; clients.len()];
        let Some(directory) = services.sinks.history.clone() else { return none };
        // The disk may be slow.
        let read = move || -> std::io::Result<Vec<Option<Story>>> {
            let reader = Reader::open(&directory)?;
            clients.iter().map(|client| reader.last_success(client, EpochMillis(now.0 + 1))).collect()
        };
        tokio::task::spawn_blocking(read).await.ok().and_then(Result::ok).unwrap_or(none)
    }
}
