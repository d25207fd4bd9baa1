//! The reading of a table by several processes, each of which reads the images' headers and the
//! texts of its share of the rows.

use convirt_data::{Manifest, ManifestConfig, ManifestError, Study};

use super::{manifest_config, recognize_columns, with_config_keys};
use crate::config::Config;
use crate::error::Error;
use crate::peers::{Peers, SentStudy, Work};

/// Reads the table of a configuration whose columns are known, as the leader.
pub(super) fn read_manifest(
    config: &Config,
    manifest: &ManifestConfig,
    peers: &Peers,
) -> Result<Manifest, Error> {
    let mut known = Vec::new();
    if peers.size() > 1 {
        peers.lead(Some(Work::ReadRows))?;
        peers.lead(Some(config.to_yaml()))?;
        known = exchange_shares(manifest, peers)?;
    }
    Ok(Manifest::read_with(manifest, known).map_err(with_config_keys)?)
}

/// Reads a share of the table that the leader reads.
pub(crate) fn assist_in_reading(peers: &Peers) -> Result<(), Error> {
    let config: String = peers.lead(None)?;
    let config = Config::from_yaml("the leader's configuration", &config, &[])?;
    let columns = recognize_columns(&config)?;
    exchange_shares(&manifest_config(&config, &columns), peers)?;
    Ok(())
}

/// Reads this peer's share, and returns those of all to the leader, nothing to others.
fn exchange_shares(manifest: &ManifestConfig, peers: &Peers) -> Result<Vec<Study>, Error> {
    let own: Result<Vec<Study>, ManifestError> =
        Manifest::read_share(manifest, peers.rank(), peers.size());
    let own: Vec<SentStudy> = (own.map_err(with_config_keys)?.iter())
        .map(SentStudy::from)
        .collect();
    let shares = peers.report(&own)?.into_iter().flatten();
    Ok(shares.map(Study::from).collect())
}
