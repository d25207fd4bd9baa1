//! What the program that starts processes together, `mpirun` or `srun`, tells each of them.

use std::env;

/// Variables with the number of processes: of Open MPI, of MPICH and Intel MPI.
const COUNTS: [&str; 2] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"];

/// Variable that `srun --mpi=pmix` sets, and that with the number of its processes.
const SLURM: [&str; 2] = ["PMIX_RANK", "SLURM_STEP_NUM_TASKS"];

/// Variables with the number of a process on its machine.
const LOCAL_RANKS: [&str; 4] = [
    "OMPI_COMM_WORLD_LOCAL_RANK",
    "MPI_LOCALRANKID",
    "PMI_LOCAL_RANK",
    "SLURM_LOCALID",
];

/// Returns the number of processes that `mpirun` or `srun` has started together, this one among
/// them; 1 for a process that was started by itself.
pub fn process_count() -> usize {
    count_of(|name| env::var(name).ok())
}

/// Returns the number of this process among those of its machine, from 0.
pub(crate) fn local_rank() -> usize {
    let numbers = LOCAL_RANKS.iter().filter_map(|name| env::var(name).ok());
    numbers.filter_map(|it| it.parse().ok()).next().unwrap_or(0)
}

fn count_of(variable: impl Fn(&str) -> Option<String>) -> usize {
    let number = |name: &str| variable(name)?.parse().ok();
    let of_slurm = || variable(SLURM[0]).and_then(|_| number(SLURM[1]));
    let count = COUNTS.iter().find_map(|name| number(name));
    count.or_else(of_slurm).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_counted_as_their_launcher_tells() {
        for (variables, count) in [
            (vec![], 1),
            (vec![("OMPI_COMM_WORLD_SIZE", "4")], 4),
            (vec![("PMI_SIZE", "2")], 2),
            (vec![("PMIX_RANK", "1"), ("SLURM_STEP_NUM_TASKS", "8")], 8),
            // A script of Slurm that starts one process by itself.
            (vec![("SLURM_STEP_NUM_TASKS", "8")], 1),
        ] {
            let variable = |name: &str| {
                let found = variables.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| value.to_string())
            };
            assert_eq!(count_of(variable), count, "{variables:?}");
        }
    }
}
