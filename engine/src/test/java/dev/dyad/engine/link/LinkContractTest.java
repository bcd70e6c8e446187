package dev.dyad.engine.link;

import org.junit.jupiter.params.ParameterizedClass;
import org.junit.jupiter.params.provider.EnumSource;

/** The contract over each link. */
@ParameterizedClass
@EnumSource(LinkPair.Kind.class)
final class LinkContractTest extends LinkContract {
  LinkContractTest(LinkPair.Kind kind) {
    super(kind);
  }
}
