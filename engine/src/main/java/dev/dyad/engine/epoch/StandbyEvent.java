package dev.dyad.engine.epoch;

/**
 * The events of {@link StandbyProtocol} and what each means in each state. Events of a link that has ended are dropped before
 * this table is asked.
 */
enum StandbyEvent {
  // A acts   . ignored   ! violation
  // .                WAITING
  // .                |RECEIVING
  // .                ||READY
  // .                |||CUT_OFF
  // .                ||||ARBITRATING
  // .                |||||PROMOTING
  // .                ||||||PROMOTED
  // .                |||||||STOOD_DOWN
  // .                ||||||||STOPPED
  CONNECTED /*     */("AAAAAAAAA"),
  HEARD /*         */("!AA!.!!.!"),
  STAMP /*         */("!AA!.!!.!"),
  EPOCH_WHOLE /*   */("!AA!.!!.!"),
  GOODBYE /*       */("!AA!.!!.!"),
  LINK_LOST /*     */("!AA!A!!A!"),
  APPLIED /*       */("!!AAAA!A!"),
  TICK /*          */(".AAAA...."),
  GRANTED /*       */("!!!!A!!!!"),
  DENIED /*        */("!!!!A!!!!"),
  UNREACHABLE /*   */("!!!!A!!!!"),
  REPLICA_DROPPED/**/("!!!!!!!A!"),
  STOP /*          */("AAAAA..A.");

  private final Reaction[] row;

  StandbyEvent(String signs) {
    row = Reaction.row(signs, StandbyState.values().length);
  }

  Reaction in(StandbyState state) {
    return row[state.ordinal()];
  }
}
