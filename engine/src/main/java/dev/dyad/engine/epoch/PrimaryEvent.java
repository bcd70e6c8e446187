package dev.dyad.engine.epoch;

/**
 * The events of {@link PrimaryProtocol} and what each means in each state. Events of a link that has ended are dropped before
 * this table is asked.
 */
enum PrimaryEvent {
  // A acts   . ignored   ! violation
  // .                  NEW
  // .                  |STARTING
  // .                  ||ALONE
  // .                  |||SYNCING
  // .                  ||||JOINING
  // .                  |||||PROTECTED
  // .                  ||||||LEAVING
  // .                  |||||||HANDING_OVER
  // .                  ||||||||ARBITRATING
  // .                  |||||||||FENCED
  // .                  ||||||||||STOPPED
  START /*           */("A!!!!!!!!!!"),
  PROMOTED /*        */("A!!!!!!!!!!"),
  STANDBY_CONNECTED/**/("!AAAAAAAAAA"),
  BASELINE_LEVEL /*  */("!!!A!!!!!!!"),
  SEALED /*          */("!!!!AA!A!!!"),
  ACK /*             */("!!!AAAAA!!!"),
  HEARD /*           */("!!!AAAAA!!!"),
  GOODBYE /*         */("!!!AAAAA!!!"),
  LINK_LOST /*       */("!!!AAAAA!!!"),
  OUTPUT_WAITING /*  */("....AA....."),
  EPOCH_FULL /*      */("....AA..A.."),
  TICK /*            */(".A.AAAAAA.."),
  GRANTED /*         */("!A!!!!!!A!!"),
  DENIED /*          */("!A!!!!!!A!!"),
  UNREACHABLE /*     */("!A!!!!!!A!!"),
  DETACH /*          */("!AAAAA..A.."),
  HANDOVER /*        */("!....A.....");

  private final Reaction[] row;

  PrimaryEvent(String signs) {
    row = Reaction.row(signs, PrimaryState.values().length);
  }

  Reaction in(PrimaryState state) {
    return row[state.ordinal()];
  }
}
