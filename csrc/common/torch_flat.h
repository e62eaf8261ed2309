// Arguments that a schema lists one by one, and a function here takes together.
#pragma once
#include <cstddef>
#include <tuple>
#include <utility>

namespace fastgan {

// What a schema lists of an argument of type T: itself. A struct names its members' types instead.
template <class T>
struct Listed {
  using Types = std::tuple<T>;
};

template <class F, class All>
struct Flattened;
template <class R, class... Args, class... All>
struct Flattened<R(Args...), std::tuple<All...>> {
  template <R (*f)(Args...)>
  static R call(All... all) {
    std::tuple<All...> listed(std::move(all)...);
    return gather<f>(listed, std::index_sequence_for<Args...>());
  }

 private:
  // Where argument i begins.
  static constexpr size_t begin(size_t i) {
    constexpr size_t sizes[] = {std::tuple_size_v<typename Listed<Args>::Types>...};
    size_t sum = 0;
    for (size_t k = 0; k < i; ++k) sum += sizes[k];
    return sum;
  }
  template <class T, size_t first, size_t... member>
  static T make(std::tuple<All...>& listed, std::index_sequence<member...>) {
    return T{std::get<first + member>(std::move(listed))...};
  }
  template <R (*f)(Args...), size_t... i>
  static R gather(std::tuple<All...>& listed, std::index_sequence<i...>) {
    return f(make<Args, begin(i)>(listed, std::make_index_sequence<std::tuple_size_v<typename Listed<Args>::Types>>())...);
  }
};

template <class R, class... Args>
Flattened<R(Args...), decltype(std::tuple_cat(std::declval<typename Listed<Args>::Types>()...))> flattened(R (*)(Args...));

}  // namespace fastgan

// TORCH_BOX of a function whose arguments are listed.
#define FASTGAN_BOX(function) TORCH_BOX(&decltype(::fastgan::flattened(&function))::template call<&function>)
