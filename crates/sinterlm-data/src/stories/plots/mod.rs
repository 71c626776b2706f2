//! What happens: one template a plot, in the language of `grammar`; the shared phrases are in `phrases`.

mod choices;
mod feelings;
mod journeys;
mod making;
mod troubles;

/// All plots, equally likely.
pub(super) const PLOTS: &[&str] = &[
    troubles::LOST,
    troubles::BROKEN,
    troubles::HIGH,
    troubles::HEAVY,
    troubles::STUCK,
    troubles::BLOWN,
    feelings::FEAR,
    feelings::QUARREL,
    feelings::NEWCOMER,
    feelings::BEDTIME,
    feelings::SORRY,
    feelings::ILL,
    feelings::ENVY,
    making::BUILD,
    making::COOK,
    making::GARDEN,
    making::SKILL,
    making::SHOW,
    journeys::ERRAND,
    journeys::RACE,
    journeys::ASTRAY,
    journeys::NOISE,
    journeys::SWAPS,
    journeys::WEATHER,
    choices::HUNGRY,
    choices::SECRET,
    choices::PROMISE,
    choices::GREEDY,
    choices::TRICK,
    choices::WISH,
    choices::FINDER,
];
