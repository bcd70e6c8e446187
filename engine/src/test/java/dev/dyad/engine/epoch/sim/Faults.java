package dev.dyad.engine.epoch.sim;

import dev.dyad.engine.epoch.EpochConfig;
import java.util.SplittableRandom;

/** What may go wrong, and what an operator may ask for meanwhile. */
final class Faults {
  private static final int KINDS = 17;

  private final World world;
  private final SplittableRandom random;

  Faults(World world, SplittableRandom random) {
    this.world = world;
    this.random = random;
  }

  /** One of them, now. */
  void inject() {
    EpochConfig config = world.config();
    long bound = config.detectorNanos();
    Host any = world.host(random.nextInt(2));
    PrimaryNode primary = world.primary() instanceof PrimaryNode node ? node : null;
    Host running = primary == null ? any : primary.host();
    Host other = world.host(1 - running.index());
    switch (random.nextInt(KINDS)) {
      case 0 -> kill(running, false);
      case 1 -> kill(running, true);
      case 2 -> {
        if (primary != null) {
          world.disturbed("the engine beside the guest is killed");
          world.orphan(running, primary);
        }
      }
      case 3 -> kill(other, random.nextBoolean());
      case 4, 5 -> {
        int actions = random.nextInt(1 << random.nextInt(9));
        world.disturbed("host " + any.index() + " will die after " + actions + " actions");
        any.crashAfterActions(actions, random.nextBoolean());
      }
      case 6 -> freeze(running, bound);
      case 7 -> freeze(other, bound);
      case 8 -> {
        world.disturbed("the link is cut both ways");
        world.cut(0);
        world.cut(1);
        world.after(duration(bound), world::healLink);
      }
      case 9 -> {
        world.disturbed("the link is cut from host " + any.index());
        world.cut(any.index());
        world.after(duration(bound), world::healLink);
      }
      case 10 -> {
        world.disturbed("frames are damaged");
        world.frameFaultPerMille(1 + random.nextInt(50));
        world.after(duration(bound), () -> world.frameFaultPerMille(0));
      }
      case 11 -> {
        world.disturbed("the link is slow");
        world.slowLink();
      }
      case 12 -> {
        long until = world.now() + duration(bound);
        world.disturbed("the arbiter is out of reach");
        world.arbiter().cutOff(any.index(), until);
        if (random.nextBoolean()) {
          world.arbiter().cutOff(1 - any.index(), until);
        }
      }
      case 13 -> {
        world.disturbed("the arbiter is slow");
        world.arbiter().slow(bound);
      }
      case 14, 15 -> {
        if (primary != null) {
          oneMore();
          boolean handover = random.nextBoolean();
          running.run(primary, () -> {
            world.disturbed(handover ? "handover" : "detach");
            if (handover) {
              primary.protocol().onHandover(running.clock());
            } else {
              primary.protocol().onDetach(running.clock());
            }
          });
        }
      }
      default -> {
        if (other.process() instanceof StandbyNode standby) {
          oneMore();
          other.run(standby, () -> {
            world.disturbed("the standby is told to stop");
            standby.protocol().onStop(other.clock());
          });
        }
      }
    }
  }

  /** Commands are carried out in steps; a fault in their midst is what they must bear. */
  private void oneMore() {
    if (random.nextBoolean()) {
      world.after(random.nextLong(random.nextBoolean() ? 300_000 : world.config().detectorNanos()), this::inject);
    }
  }

  private long duration(long bound) {
    return bound / 8 + random.nextLong(4 * bound);
  }

  private void kill(Host host, boolean hostToo) {
    if (host.process() != null) {
      world.disturbed("host " + host.index() + " is killed");
      world.crash(host, hostToo);
    }
  }

  private void freeze(Host host, long bound) {
    boolean guestToo = random.nextBoolean();
    world.disturbed("host " + host.index() + " freezes" + (guestToo ? ", its guest too" : ""));
    host.freeze(guestToo);
    world.after(duration(bound), host::thaw);
  }
}
