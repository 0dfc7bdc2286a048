//! What the cache says of its PATs, for the operator.

use std::collections::HashSet;
use std::time::Duration;

use super::{Cache, CachedPat, Inner};
use crate::base::ids::PatId;
use crate::pat::end::PatEnd;
use crate::pat::status::{CachedPatStatus, PatStatus};

impl Cache {
    /// The status for the operator, in the order of the credentials' names.
    pub(in crate::pat) async fn status(&self) -> Vec<PatStatus> {
        let guard = &self.inner.options.guard;
        let (refused, revoked) = (guard.condemned_versions(), guard.revoked_versions());
        let mut all = Vec::new();
        for (credential, key) in &self.inner.options.credentials {
            let cached =
                self.inner.values.get(key).await.map(|cached| self.inner.cached_status(&cached, &refused, &revoked));
            let health = self.inner.health.of(key);
            all.push(PatStatus {
                credential: credential.to_string(),
                kind: key.kind().to_owned(),
                warn_s: self.inner.options.settings.warn.iter().map(Duration::as_secs).collect(),
                successor: None,
                token: None,
                rotation: None,
                references: key.secret().iter().map(ToString::to_string).collect(),
                ready: cached.as_ref().is_some_and(|cached| cached.usable),
                cached,
                pause: None,
                failure: health.failure.as_ref().map(Into::into),
                failed: health.failed.iter().map(Into::into).collect(),
            });
        }
        all
    }
}

impl Inner {
    fn cached_status(&self, cached: &CachedPat, refused: &HashSet<PatId>, revoked: &HashSet<PatId>) -> CachedPatStatus {
        let (fetched, age) = (&cached.fetched, cached.age(&*self.options.env.clock));
        let end = PatEnd::of(fetched);
        CachedPatStatus {
            id: fetched.id.clone(),
            version: fetched.version.clone(),
            from: fetched.from.to_string(),
            created: fetched.created,
            expires: end.map(|end| end.at),
            expires_from: end.map(|end| end.from),
            age,
            usable: self.is_usable(cached),
            overdue: age > self.schedule.overdue(),
            from_disk: cached.from_disk,
            refused: refused.contains(&fetched.id),
            revoked: revoked.contains(&fetched.id),
        }
    }
}
