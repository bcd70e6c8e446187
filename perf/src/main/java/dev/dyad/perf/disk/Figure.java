package dev.dyad.perf.disk;

import java.math.BigDecimal;
import java.math.RoundingMode;

/** A figure with as many digits as it is worth. */
final class Figure {
  private Figure() {}

  static BigDecimal of(double value, int decimals) {
    return Double.isFinite(value) ? BigDecimal.valueOf(value).setScale(decimals, RoundingMode.HALF_UP) : BigDecimal.ZERO;
  }
}
