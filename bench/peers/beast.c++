// An echo with Boost.Beast: beast PORT; without it prints the version. Asynchronous, one thread, no
// compression.
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/websocket.hpp>
#include <boost/version.hpp>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using Socket = asio::basic_stream_socket<asio::ip::tcp, asio::io_context::executor_type>;
using Acceptor = asio::basic_socket_acceptor<asio::ip::tcp, asio::io_context::executor_type>;

// Lives for as long as an operation is under way that holds it.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  explicit Connection(Socket socket) : stream_(std::move(socket)) {
    beast::error_code ignored;
    stream_.next_layer().set_option(asio::ip::tcp::no_delay(true), ignored);
    stream_.auto_fragment(false);
  }

  void start() {
    stream_.async_accept([self = shared_from_this()](beast::error_code error) {
      if (!error) self->read();
    });
  }

 private:
  void read() {
    stream_.async_read(buffer_, [self = shared_from_this()](beast::error_code error, size_t) {
      if (!error) self->write();
    });
  }

  void write() {
    stream_.binary(stream_.got_binary());
    stream_.async_write(buffer_.cdata(),
                        [self = shared_from_this()](beast::error_code error, size_t) {
                          if (error) return;
                          self->buffer_.clear();
                          self->read();
                        });
  }

  beast::websocket::stream<Socket, false> stream_;
  beast::flat_buffer buffer_;
};

void accept(Acceptor& acceptor) {
  acceptor.async_accept([&](beast::error_code error, Socket socket) {
    if (!error) std::make_shared<Connection>(std::move(socket))->start();
    accept(acceptor);
  });
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    puts("Boost " BOOST_LIB_VERSION);
    return 2;
  }
  asio::io_context context(BOOST_ASIO_CONCURRENCY_HINT_UNSAFE);
  Acceptor acceptor(context);
  acceptor.open(asio::ip::tcp::v4());
  acceptor.set_option(asio::socket_base::reuse_address(true));
  acceptor.bind({asio::ip::address_v4::loopback(), static_cast<unsigned short>(atoi(argv[1]))});
  acceptor.listen(4096);
  accept(acceptor);
  context.run();
}
