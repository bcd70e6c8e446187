package dev.dyad.engine.cli;

import dev.dyad.bindings.linux.SocketAddress;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.TypeConversionException;

/** {@code HOST:PORT} (IPv6 addresses in brackets) or {@code unix:PATH}. */
public final class AddressConverter implements ITypeConverter<SocketAddress> {
  @Override
  public SocketAddress convert(String text) {
    try {
      if (text.startsWith("unix:")) {
        return SocketAddress.unix(text.substring("unix:".length()));
      }
      int colon = text.lastIndexOf(':');
      String host = text.substring(0, colon).replaceAll("^\\[|\\]$", "");
      int port = Integer.parseInt(text.substring(colon + 1));
      if (!host.isEmpty() && port >= 0 && port <= 65535) {
        return SocketAddress.inet(host, port);
      }
    } catch (IndexOutOfBoundsException | NumberFormatException e) {
      // Reported below: the same answer for every way of being wrong.
    } catch (RuntimeException e) {
      throw new TypeConversionException("'" + text + "': " + e.getMessage());
    }
    throw new TypeConversionException("'" + text + "' is not an address; needed is HOST:PORT, [IPV6]:PORT or unix:PATH");
  }
}
