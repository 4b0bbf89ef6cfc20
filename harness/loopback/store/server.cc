// Clients: requests in, answers out. xenstored_core.c, handle_input to send_reply.
#include "harness/loopback/store/server.h"

#include <algorithm>
#include <cerrno>

#include "harness/loopback/store/state.h"

namespace displif_cts::loopback::store {
namespace {

using namespace std::string_view_literals;

// An answer of at most this many octets is given even above the memory quota (struct
// buffered_data's own room).
constexpr std::size_t kSmallAnswer = 16;

bool privileged_only(MessageType type) {
  switch (type) {
    case MessageType::control:
    case MessageType::introduce:
    case MessageType::release:
    case MessageType::is_domain_introduced:
    case MessageType::resume:
    case MessageType::set_target:
      return true;
    default:
      return false;
  }
}

bool outside_transactions(MessageType type) {
  return type == MessageType::watch || type == MessageType::unwatch;
}

}  // namespace

Connection::Connection(Key, Server& server, DomainId id) : server_(&server), id_(id) {}
Connection::~Connection() = default;

std::string_view Connection::output() const {
  if (output_.empty()) return {};
  return std::string_view(output_.front().octets).substr(output_.front().sent);
}

void Connection::sent(std::size_t count) {
  while (count > 0 && !output_.empty()) {
    Pending& front = output_.front();
    const std::size_t taken = std::min(count, front.octets.size() - front.sent);
    front.sent += taken;
    count -= taken;
    if (front.sent < front.octets.size()) return;
    server_->retire(*this, front);
    output_.pop_front();
  }
}

bool Connection::may_proceed() const {
  if (!server_->unprivileged(this)) return true;
  const Quotas& quotas = server_->quotas();
  return domain_->outstanding < quotas.outstanding &&
         (quotas.memory == 0 || domain_->memory < quotas.memory);
}

Server::Server(Options options) : options_(std::move(options)) {
  existing_[0] = false;
  const auto zero = domain_or_new(0);
  zero->introduced = zero->connected = true;
  introduce_permissions_ = release_permissions_ = {Permission{}};
  Record record;
  record.permissions = {Permission{}};
  // The order in which xenstored writes them gives them their generations.
  for (const auto& [path, children] : {std::pair<std::string, std::string_view>{"/", "tool"},
                                       {"/tool", "xenstored"},
                                       {"/tool/xenstored", ""}}) {
    record.children = children;
    if (!children.empty()) record.children += '\0';
    store(nullptr, path, record, false);
    ++zero->nodes;
  }
}

Server::~Server() {
  // Connections may outlive the server in somebody's hands: they must not reach back for it.
  while (!connections_.empty()) close(*connections_.back());
}

std::shared_ptr<Connection> Server::connect(DomainId id) {
  const auto of = domain(id);
  if (!of || !of->introduced || !of->connected) return nullptr;
  auto connection = std::make_shared<Connection>(Connection::Key{}, *this, id);
  if (id != 0) connection->domain_ = of;
  connections_.push_back(connection);
  return connection;
}

void Server::disconnect(Connection& connection) { close(connection); }

void Server::close(Connection& c) {
  if (c.closed_) return;
  c.closed_ = true;
  for (const Connection::Pending& message : c.output_) retire(c, message);
  c.output_.clear();
  c.input_.clear();
  end_watches(c);
  end_transactions(c);
  c.ticket_.reset();
  std::erase_if(connections_, [&](const auto& other) { return other.get() == &c; });
}

// The message is read, or never will be.
void Server::retire(Connection& c, const Connection::Pending& message) {
  charge(c.id_, -static_cast<long>(message.octets.size()), true);
}

bool Server::step() {
  bool served = false;
  // A request may close any of them.
  const auto connections = connections_;
  for (const auto& connection : connections) served |= step(*connection);
  return served;
}

bool Server::step(Connection& c) {
  if (c.closed_ || c.input_.size() < kHeaderSize || !c.may_proceed()) return false;
  const Header header =
      decode_header(std::span<const char, kHeaderSize>(c.input_.data(), kHeaderSize));
  if (header.length > kPayloadMax) {
    close(c);
    return true;
  }
  std::optional<Message> message = take_message(c.input_);
  if (!message) return false;
  c.request_ = message->header;
  process(c, message->payload);
  c.transaction_ = nullptr;
  c.ticket_.reset();
  return true;
}

Server::Handler Server::handler(std::uint32_t type) {
  if (type >= kMessageTypes) return nullptr;
  switch (static_cast<MessageType>(type)) {
    case MessageType::control:
      return &Server::control;
    case MessageType::directory:
      return &Server::directory;
    case MessageType::read:
      return &Server::read;
    case MessageType::get_permissions:
      return &Server::get_permissions;
    case MessageType::watch:
      return &Server::watch;
    case MessageType::unwatch:
      return &Server::unwatch;
    case MessageType::transaction_start:
      return &Server::transaction_start;
    case MessageType::transaction_end:
      return &Server::transaction_end;
    case MessageType::introduce:
      return &Server::introduce_request;
    case MessageType::release:
      return &Server::release_request;
    case MessageType::get_domain_path:
      return &Server::get_domain_path;
    case MessageType::write:
      return &Server::write;
    case MessageType::mkdir:
      return &Server::mkdir;
    case MessageType::remove:
      return &Server::remove;
    case MessageType::set_permissions:
      return &Server::set_permissions;
    case MessageType::is_domain_introduced:
      return &Server::is_domain_introduced;
    case MessageType::resume:
      return &Server::resume_request;
    case MessageType::set_target:
      return &Server::set_target_request;
    case MessageType::reset_watches:
      return &Server::reset_watches;
    case MessageType::directory_part:
      return &Server::directory_part;
    case MessageType::watch_event:
    case MessageType::error:
    case MessageType::restrict:
      break;
  }
  return nullptr;
}

void Server::process(Connection& c, std::string_view payload) {
  const auto type = static_cast<MessageType>(c.request_.type);
  c.ticket_ = c.domain_ ? std::make_shared<RequestTicket>(c.domain_) : nullptr;
  c.transaction_ = nullptr;
  const Handler handle = handler(c.request_.type);
  if (!handle) return reply_error(c, ENOSYS);
  if (privileged_only(type) && unprivileged(&c)) return reply_error(c, EACCES);
  if (c.request_.transaction != 0 && !outside_transactions(type)) {
    for (const auto& transaction : c.transactions_)
      if (transaction->id == c.request_.transaction) c.transaction_ = transaction.get();
    if (!c.transaction_) return reply_error(c, ENOENT);
  }
  if (const int number = (this->*handle)(c, payload); number != 0) reply_error(c, number);
}

void Server::reply(Connection& c, MessageType type, std::string_view payload) {
  if (c.closed_) return;
  if (payload.size() > kPayloadMax) return reply_error(c, E2BIG);
  const long size = static_cast<long>(kHeaderSize + payload.size());
  if (charge(c.id_, size, payload.size() <= kSmallAnswer) == ENOMEM) return reply_error(c, ENOMEM);
  Connection::Pending message;
  message.octets = encode(type, c.request_.request, c.request_.transaction, payload);
  message.ticket = c.ticket_;
  if (c.domain_ && c.ticket_) {
    c.ticket_->counted = true;
    ++c.domain_->outstanding;
  }
  c.output_.push_back(std::move(message));
}

int Server::acknowledge(Connection& c, MessageType type) {
  reply(c, type, "OK\0"sv);
  return 0;
}

void Server::reply_error(Connection& c, int number) {
  reply(c, MessageType::error, std::string(error_word(number)) + '\0');
}

void Server::send_event(Connection& to, std::string_view path, std::string_view token,
                        const std::shared_ptr<RequestTicket>& cause) {
  const std::size_t length = path.size() + 1 + token.size() + 1;
  if (length > kPayloadMax) return;
  std::string payload;
  payload.reserve(length);
  payload.append(path).append(1, '\0').append(token).append(1, '\0');
  Connection::Pending message;
  message.octets = encode(MessageType::watch_event, 0, 0, payload);
  message.event = true;
  // One that says the same and is still unread is enough; of domains, each tells something new.
  if (!path.starts_with('@') &&
      std::any_of(to.output_.begin(), to.output_.end(), [&](const Connection::Pending& other) {
        return other.event && other.octets == message.octets;
      }))
    return;
  if (charge(to.id_, static_cast<long>(message.octets.size()), false) == ENOMEM) return;
  if (options_.watch_event_timeout.count() > 0 && unprivileged(&to))
    message.deadline = options_.now() + options_.watch_event_timeout;
  message.ticket = cause;
  to.output_.push_back(std::move(message));
}

void Server::expire() {
  const auto now = options_.now();
  for (const auto& c : connections_) {
    std::erase_if(c->output_, [&](const Connection::Pending& message) {
      const bool late = message.deadline && message.sent == 0 && *message.deadline <= now;
      if (late) retire(*c, message);
      return late;
    });
  }
}

LocalClient::LocalClient(Server& server) : server_(server), connection_(server.connect(0)) {}
LocalClient::~LocalClient() { server_.disconnect(*connection_); }

std::string LocalClient::request(MessageType type, std::string_view payload,
                                 std::uint32_t transaction) {
  connection_->receive(encode(type, 1, transaction, payload));
  while (!connection_->has_output() && server_.step()) {
  }
  std::string octets;
  while (connection_->has_output()) {
    octets += connection_->output();
    connection_->sent(connection_->output().size());
  }
  std::optional<Message> answer = take_message(octets);
  if (!answer) throw StoreError(std::string(type_name(static_cast<std::uint32_t>(type))), EIO);
  if (answer->type() != MessageType::error) return std::move(answer->payload);
  std::string what(type_name(static_cast<std::uint32_t>(type)));
  what.append("(").append(payload.substr(0, payload.find('\0'))).append("): ");
  what += answer->payload.c_str();
  throw StoreError(std::move(what), error_number(answer->payload.c_str()));
}

std::optional<std::string> LocalClient::read(const std::string& path) {
  try {
    return request(MessageType::read, path + '\0');
  } catch (const StoreError& error) {
    if (error.number() == ENOENT) return std::nullopt;
    throw;
  }
}

void LocalClient::write(const std::string& path, std::string_view value) {
  request(MessageType::write, (path + '\0').append(value));
}

void LocalClient::mkdir(const std::string& path) { request(MessageType::mkdir, path + '\0'); }

bool LocalClient::remove(const std::string& path) {
  if (!server_.find(path)) return false;
  request(MessageType::remove, path + '\0');
  return true;
}

std::vector<std::string> LocalClient::directory(const std::string& path) {
  const std::string names = request(MessageType::directory, path + '\0');
  std::vector<std::string> children;
  for (const std::string_view name : strings_of(names)) children.emplace_back(name);
  return children;
}

void LocalClient::set_permissions(const std::string& path,
                                  const std::vector<std::string>& entries) {
  std::string payload = path + '\0';
  for (const std::string& entry : entries) payload += entry + '\0';
  request(MessageType::set_permissions, payload);
}

}  // namespace displif_cts::loopback::store
