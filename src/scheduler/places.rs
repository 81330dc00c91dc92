//! Who may have how many of the places for attempts: what is left for those that have some already,
//! and the slow lane. Decided anew for every attempt that [`super::core`] wants to start; nothing here
//! starts one.

use std::time::Duration;

use super::core::State;
use super::lane::{Pace, Room};
use crate::model::clock::Timestamp;

/// How often endpoints are looked for that turned slow.
const LOOK_EVERY: Duration = Duration::from_millis(250);

impl State {
    /// How many places there are for endpoints that have something running already.
    pub(super) fn room(&self) -> Room {
        let (most, each) = (self.limits.max_in_flight, self.limits.per_endpoint);
        if self.in_flight < most / 2 {
            Room::Plenty
        } else if self.busy < 2 || self.busy * each <= most {
            Room::Enough
        } else if self.in_flight < most - most / 4 {
            Room::Some
        } else {
            Room::Little
        }
    }

    /// Whether an endpoint of this pace has to wait for a place in the slow lane: there is always
    /// a quarter of all places, and half for those that do answer, while nobody else needs them.
    pub(super) fn is_slow_lane_full(&self, pace: Pace) -> bool {
        let most = self.limits.max_in_flight;
        match pace {
            Pace::Unproven | Pace::Well => false,
            Pace::Slow if self.in_flight < most / 2 => false,
            Pace::Slow | Pace::Stuck => self.slow_in_flight >= (most / 4).max(1),
        }
    }

    /// An endpoint that took `was` places of the slow lane takes `is`.
    pub(super) fn slow_lane(&mut self, was: usize, is: usize) {
        self.slow_in_flight = self.slow_in_flight + is - was;
        if is < was {
            for (app, id) in self.parked.drain(..) {
                self.round.push(app, id);
            }
        }
    }

    /// Endpoints that turned slow are told by what does not come back: what they hold is counted
    /// to the slow lane, or it would be given away once more.
    pub(super) fn look_for_slow_ones(&mut self, now: Timestamp) {
        if self.in_flight < self.limits.max_in_flight / 4 || now < self.next_look {
            return;
        }
        self.next_look = now.plus(LOOK_EVERY);
        for lane in self.lanes.values_mut() {
            if lane.is_stalled(now) && !lane.pace.is_slow() {
                lane.pace = Pace::Slow;
                self.slow_in_flight += lane.running;
            }
        }
    }
}
