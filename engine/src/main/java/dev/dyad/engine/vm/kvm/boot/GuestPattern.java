package dev.dyad.engine.vm.kvm.boot;

/**
 * What the built-in guest does with its memory, for each vCPU in a part of its own.
 *
 * @param pages working set of each vCPU; 0: it writes to none
 * @param random pages in random order, else one after the other
 * @param hotPercent share of the writes that goes to the hot pages
 * @param hotPages the first pages of the working set
 * @param writesPerTick of each vCPU; 0: as many as it can, without ever resting
 * @param stopAfter writes of each vCPU until it adds up its memory and rests; 0: never
 * @param seed of the pattern and the checksum
 */
public record GuestPattern(
    long pages, boolean random, int hotPercent, long hotPages, long writesPerTick, long stopAfter, long seed) {

  public static final GuestPattern NONE = new GuestPattern(0, false, 0, 0, 0, 0, 1);

  public GuestPattern {
    if (pages < 0 || hotPages < 0 || hotPages > pages || writesPerTick < 0 || stopAfter < 0) {
      throw new IllegalArgumentException("pattern of " + pages + " pages with " + hotPages + " hot ones");
    }
    if (hotPercent < 0 || hotPercent > 100 || (hotPercent > 0 && hotPages == 0)) {
      throw new IllegalArgumentException(hotPercent + " % of the writes to " + hotPages + " hot pages");
    }
  }

  public static GuestPattern sequential(long pages, long seed) {
    return new GuestPattern(pages, false, 0, 0, 0, 0, seed);
  }

  public static GuestPattern random(long pages, long seed) {
    return new GuestPattern(pages, true, 0, 0, 0, 0, seed);
  }

  public GuestPattern withHot(int percent, long hot) {
    return new GuestPattern(pages, random, percent, hot, writesPerTick, stopAfter, seed);
  }

  public GuestPattern withWritesPerTick(long writes) {
    return new GuestPattern(pages, random, hotPercent, hotPages, writes, stopAfter, seed);
  }

  public GuestPattern withStopAfter(long writes) {
    return new GuestPattern(pages, random, hotPercent, hotPages, writesPerTick, writes, seed);
  }
}
